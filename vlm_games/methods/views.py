"""The images of an iteration's games, as roles and judges see them.

    numbers of the images that are played with
        |  pieces of one size, decoded ahead
        v
    pixels --> each view of them --> the tower --> image tokens [room * T, D]

An image's view is drawn by its own number: it is the same whatever is encoded
beside it, so a single one can be looked at later.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from vlm_games.data.augment import AugmentConfig, augment_each
from vlm_games.data.fetch import pieces
from vlm_games.data.images import ImageSource
from vlm_games.methods.method import Workbench, fold

PLAIN = "plain"  # the images as they are, which the Guesser sees
_view = jax.jit(augment_each, static_argnums=2)


def views(config: ConfigDict) -> dict[str, tuple[int, float]]:
    """Who sees the images otherwise than the Guesser, which sees them plain.

    Args:
      config: `config.game`.

    Returns:
      name -> (number of the view, strength of its augmentation).
    """
    judges = {
        f"judge {i + 1}": (2 + i, config.judge_view)
        for i in range(config.judges)
    }
    return {"describer": (1, config.describer_view), **judges}


def view_keys(seed: int, iteration: int, view: int, total: int) -> jax.Array:
    """PRNG keys [total] of all images, for the view of that number."""
    return jax.random.split(fold(seed, iteration, view), total)


def seen(keys: jax.Array, pixels: np.ndarray, strength: float) -> np.ndarray:
    """Images under one random view each, uint8 [N, H, W, 3].

    Args:
      keys: [N], see `view_keys`. pixels: uint8 [N, H, W, 3].
    """
    if not strength:
        return pixels
    return np.asarray(_view(keys, pixels, AugmentConfig(strength=strength)))


def encode_views(
    bench: Workbench,
    params: Any,
    images: ImageSource,
    numbers: np.ndarray,
    iteration: int,
    room: int,
) -> dict[str, jax.Array]:
    """Image tokens [room * T, D] of PLAIN, and of `views` that are none.

    Args:
      images: the unlabelled ones, and copies behind them.
      numbers: int [n] of those to encode, n <= room. Behind them is padding.
      room: the same in every iteration, so that nothing is compiled anew.
    """
    c, strengths = bench.config, {PLAIN: 0.0}
    keys: dict[str, jax.Array] = {}
    for name, (number, strength) in views(c.game).items():
        if strength:
            keys[name] = view_keys(c.seed, iteration, number, len(images))
            strengths[name] = strength
    parts: dict[str, list[jax.Array]] = {name: [] for name in strengths}
    size, done = c.encode_images, 0
    for pixels in pieces(images, numbers, size, c.image_workers):
        some = numbers[done : done + size]
        short, done = size - len(some), done + size
        # One shape: compiled once.
        pixels = np.concatenate([pixels, pixels[:1].repeat(short, 0)])
        some = np.concatenate([some, some[:1].repeat(short)])
        for name, strength in strengths.items():
            view = pixels
            if strength:
                view = seen(keys[name][some], pixels, strength)
            parts[name].append(bench.engine.encode(params, view))
    rows = room * bench.model.tokens_per_image
    return {name: _joined(arrays, rows) for name, arrays in parts.items()}


def _joined(parts: Sequence[jax.Array], rows: int) -> jax.Array:
    """[rows, D] of arrays [m, D], cut off or padded with zeros."""
    tokens = jnp.concatenate(parts)[:rows]
    tokens = jnp.pad(tokens, ((0, rows - len(tokens)), (0, 0)))
    return jax.device_put(tokens, parts[0].sharding)
