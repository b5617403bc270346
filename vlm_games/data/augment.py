"""Random views of an image: pure, jitted, one key per image.

Geometry is left alone, since a question may be about places: only light,
colour, sharpness, noise and a covering bar change.
"""

import dataclasses

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """How far a view may stray; all zero is no augmentation.

    Attributes:
      strength: scales everything below, 0 to about 1.5.
      hue: largest hue rotation, degrees.
      saturation: largest share of colour taken away.
      light: largest change of brightness, and of a gradient across.
      noise: largest standard deviation of pixel noise, of 255.
      blur: chance of a 3 x 3 blur.
      bar: chance of a covering bar, an eighth of the image wide.
    """

    strength: float = 0.0
    hue: float = 20.0
    saturation: float = 0.4
    light: float = 0.25
    noise: float = 14.0
    blur: float = 0.4
    bar: float = 0.4


def augment(key: jax.Array, pixels_NxHxWxC, config: AugmentConfig):
    """Returns one random view per image, uint8 [N, H, W, 3]."""
    if config.strength == 0 or not len(pixels_NxHxWxC):
        return pixels_NxHxWxC
    keys = jax.random.split(key, pixels_NxHxWxC.shape[0])
    return augment_each(keys, pixels_NxHxWxC, config)


def augment_each(keys_N: jax.Array, pixels_NxHxWxC, config: AugmentConfig):
    """As `augment`, with the key of every image given."""
    view = jax.vmap(lambda k, x: _view(k, x, config))
    return view(keys_N, pixels_NxHxWxC)


def _view(key, pixels_HxWxC, config: AugmentConfig):
    """One view of one image."""
    s = config.strength
    keys = jax.random.split(key, 8)
    height, width, _ = pixels_HxWxC.shape
    u = jax.random.uniform(keys[0], (6,), minval=-1.0, maxval=1.0)
    x = pixels_HxWxC.astype(jnp.float32)
    x = x @ hue_rotation(u[0] * jnp.deg2rad(config.hue * s)).T
    grey = x.mean(axis=-1, keepdims=True)
    x = grey + (x - grey) * (1.0 - jnp.abs(u[1]) * config.saturation * s)
    ramp_y = jnp.linspace(-1.0, 1.0, height)[:, None, None]
    ramp_x = jnp.linspace(-1.0, 1.0, width)[None, :, None]
    light = u[2] + u[3] * ramp_y + u[4] * ramp_x
    x = x * (1.0 + config.light * s * light)
    x = jnp.where(jax.random.uniform(keys[1]) < config.blur * s, _blur(x), x)
    sigma = jax.random.uniform(keys[2]) * config.noise * s
    x = x + sigma * jax.random.normal(keys[3], x.shape)
    x = _cover(keys[4], x, config.bar * s)
    return jnp.clip(jnp.round(x), 0, 255).astype(jnp.uint8)


def hue_rotation(angle):
    """Rotation of RGB about the grey axis (Rodrigues' formula), [3, 3]."""
    cos, sin = jnp.cos(angle), jnp.sin(angle) / jnp.sqrt(3.0)
    third = (1.0 - cos) / 3.0
    around = jnp.array([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]])
    return cos * jnp.eye(3) + third + sin * around


def _blur(x_HxWxC):
    """Binomial 3 x 3 blur with edges repeated."""
    for axis in (0, 1):
        pad = [(1, 1) if a == axis else (0, 0) for a in range(3)]
        padded = jnp.pad(x_HxWxC, pad, mode="edge")
        n = x_HxWxC.shape[axis]
        parts = [
            jax.lax.slice_in_dim(padded, i, i + n, axis=axis) for i in range(3)
        ]
        x_HxWxC = (parts[0] + 2.0 * parts[1] + parts[2]) / 4.0
    return x_HxWxC


def _cover(key, x_HxWxC, chance):
    """Lays a bar of one colour across, upright or level."""
    keys = jax.random.split(key, 4)
    height, width, _ = x_HxWxC.shape
    across = jax.random.uniform(keys[0]) < 0.5
    line = jnp.where(
        across,
        jnp.arange(height)[:, None] / height,
        jnp.arange(width)[None, :] / width,
    )
    start = jax.random.uniform(keys[1], maxval=0.9)
    inside = (line >= start) & (line < start + 0.1)
    inside &= jax.random.uniform(keys[2]) < chance
    color = jax.random.uniform(keys[3], (3,), minval=40.0, maxval=200.0)
    return jnp.where(inside[..., None], color, x_HxWxC)
