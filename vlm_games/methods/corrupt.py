"""Images that a description goes wrong on: without detail, in false colours.

What changes is drawn by the caller, so that an image is spoilt alike whatever
stands beside it.
"""

import functools

import jax
import jax.numpy as jnp

from vlm_games.data.augment import hue_rotation


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
