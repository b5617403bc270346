"""Images that a description goes wrong on: without detail, in false colours.

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
class Draw:
    """What chance decides about a candidate.

    Attributes:
      number: of the candidate. image: which.
      plain, careful, invitation: instructions.
      source: of the rejected description.
      light, turn: of the corrupted image, see `recolour`.
    """

    number: int
    image: int
    plain: str
    careful: str
    invitation: str
    source: str
    light: float
    turn: float


def corrupt(
    pixels_NxHxWx3: np.ndarray, draws: Sequence[Draw], side: int
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
