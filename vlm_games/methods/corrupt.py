"""Images that words go wrong on: without detail, or in false colours.

What changes is drawn beforehand, so that an image is spoilt alike whatever
stands beside it.
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from vlm_games.data.augment import hue_rotation
from vlm_games.methods.descriptions import BLURRED, RECOLOURED


@dataclasses.dataclass(frozen=True)
class Corruption:
    """What chance decides about a corrupted image.

    Attributes:
      source: of SOURCES; what is not BLURRED or RECOLOURED stays as it is.
      light, turn: of a recoloured image, see `recolour`.
    """

    source: str
    light: float
    turn: float


def draw_source(rng: np.random.Generator) -> str:
    """One of the two ways to corrupt an image."""
    return BLURRED if rng.random() < 0.5 else RECOLOURED


def draw_colours(rng: np.random.Generator, config) -> tuple[float, float]:
    """(light, turn) of a `Corruption`; config: `config.stic`."""
    light = 1 + float(rng.uniform(-config.brightness, config.brightness))
    return light, float(rng.uniform(-config.hue, config.hue))


def check_low_side(low_side: int, side: int) -> None:
    """Raises ValueError if `config.stic.low_side` blurs nothing.

    Args:
      side: of the images, pixels.
    """
    if not 0 < low_side < side:
        raise ValueError(
            f"config.stic.low_side={low_side}: a blurred image has fewer "
            f"pixels than the {side} of the images' sides, and at least 1."
        )


def corrupt(
    pixels_NxHxWx3: np.ndarray, draws: Sequence[Corruption], side: int
) -> np.ndarray:
    """uint8 [N, H, W, 3]: blurred to `side` or recoloured, as was drawn; those
    of inventions as they are."""
    light = np.array([d.light for d in draws], np.float32)
    turn = np.array([d.turn for d in draws], np.float32)
    views = {
        BLURRED: np.asarray(blur(pixels_NxHxWx3, side)),
        RECOLOURED: np.asarray(recolour(pixels_NxHxWx3, light, turn)),
    }
    found = [
        views.get(d.source, pixels_NxHxWx3)[i] for i, d in enumerate(draws)
    ]
    return np.stack(found)


@functools.partial(jax.jit, static_argnames="side")
def blur(pixels_NxHxWx3, side: int):
    """Resizes the short side to `side` pixels and back; uint8 [N, H, W, 3]."""
    n, height, width, channels = pixels_NxHxWx3.shape
    scale = side / min(height, width)
    low = (n, round(height * scale), round(width * scale), channels)
    x = jax.image.resize(pixels_NxHxWx3.astype(jnp.float32), low, "linear")
    return _to_bytes(jax.image.resize(x, pixels_NxHxWx3.shape, "linear"))


@jax.jit
def recolour(pixels_NxHxWx3, light_N, turn_N):
    """Colours brightened and turned about the grey axis; uint8 [N, H, W, 3].

    Args:
      light_N: what brightness is multiplied by.
      turn_N: how far the hue turns, of a whole circle.
    """
    turns = jax.vmap(hue_rotation)(2 * jnp.pi * turn_N)
    x = pixels_NxHxWx3.astype(jnp.float32) * light_N[:, None, None, None]
    return _to_bytes(jnp.einsum("nhwc,ndc->nhwd", x, turns))


def _to_bytes(x):
    return jnp.clip(jnp.round(x), 0, 255).astype(jnp.uint8)
