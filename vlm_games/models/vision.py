"""Vision tower and connector: pixels to image tokens.

uint8 images --square_patches--+
                               v
any processor's patches --> Patches --VisionTower--> features
                                                        |
                       image tokens <--Connector--------+
"""

import dataclasses

import einops
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vlm_games.models.config import ConnectorConfig, VisionConfig
from vlm_games.models.layers import ACTIVATIONS, Masks, Places, Stack, make_norm


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Patches:
    """N images as rows of P patches, those of one image token side by side.

    Attributes:
      pixels: float32 [N, P, F], normalised; F counts frame, row, column and
        channel in this order.
      rows: int32 [N, P, K], of the table of positions.
      shares: float32 [N, P, K], of these rows in a patch's position.
      places: int32 [N, P, 2], row and column, for the rotary embedding.
      windows: int32 [N, P], which window a patch is in; -1 for padding.

    All but `pixels` may be [1, P, ...] where every image is laid out alike.
    """

    pixels: jax.Array | np.ndarray
    rows: jax.Array | np.ndarray
    shares: jax.Array | np.ndarray
    places: jax.Array | np.ndarray
    windows: jax.Array | np.ndarray


def folded_order(height: int, width: int, fold: int) -> np.ndarray:
    """Row and column of each patch, int32 [height * width, 2].

    The patches of a `fold` x `fold` square follow one another, row by row;
    so do the squares.
    """
    grid = np.stack(
        np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), -1
    )
    return einops.rearrange(
        grid.astype(np.int32), "(y a) (x b) c -> (y x a b) c", a=fold, b=fold
    )


def stretched_rows(places, height: int, width: int, side: int):
    """Bilinear shares of a `side` x `side` table stretched over the image.

    Args:
      places: int [P, 2], row and column of each patch.
      height, width: of the image, patches.

    Returns:
      (int32 [P, 4] rows of the table, float32 [P, 4] shares); corners of the
      table fall on corners of the image.
    """
    rows = np.zeros((len(places), 1), np.int32)
    shares = np.ones((len(places), 1), np.float32)
    for axis, count in enumerate((height, width)):
        line = np.linspace(0, side - 1, count, dtype=np.float32)
        low = line.astype(np.int32)
        ends = np.stack([low, np.minimum(low + 1, side - 1)], -1)[
            places[:, axis]
        ]
        high = (line - low)[places[:, axis]]
        part = np.stack([1 - high, high], -1)
        rows = (np.expand_dims(rows, -1) * side + ends[:, None]).reshape(
            len(places), -1
        )
        shares = (shares[:, :, None] * part[:, None]).reshape(len(places), -1)
    return rows.astype(np.int32), shares


def patch_layout(config: VisionConfig, height: int, width: int, fold: int):
    """Rows, shares, places and windows of one image; see `Patches`.

    Args:
      height, width: of the image, patches. fold: of the connector.
    """
    places = folded_order(height, width, fold)
    if config.interpolate:
        side = round(config.table**0.5)
        rows, shares = stretched_rows(places, height, width, side)
    else:
        rows = (places[:, :1] * width + places[:, 1:]) + config.class_token
        shares = np.ones(rows.shape, np.float32)
    windows = np.zeros(len(places), np.int32)
    if config.window:
        across = -(-width // config.window)
        windows = places[:, 0] // config.window * across
        windows = windows + places[:, 1] // config.window
    return rows.astype(np.int32), shares, places, windows.astype(np.int32)


def square_patches(config: VisionConfig, fold: int, pixels_NxHxWxC) -> Patches:
    """Patches of uint8 [N, H, W, 3], all of `config.image_size`.

    Pixels at the right and bottom that fill no patch are cut off.
    """
    side = config.grid * config.patch_size
    x = pixels_NxHxWxC[:, :side, :side].astype(jnp.float32) / 255.0
    x = (x - jnp.array(config.mean)) / jnp.array(config.std)
    x = einops.rearrange(
        x,
        "n (y a p) (x b q) c -> n (y x a b) (p q c)",
        a=fold,
        b=fold,
        p=config.patch_size,
        q=config.patch_size,
    )
    layout = patch_layout(config, config.grid, config.grid, fold)
    return Patches(jnp.tile(x, config.frames), *[y[None] for y in layout])


class VisionTower(nn.Module):
    """A ViT: patches, positions, bidirectional blocks; see `Stack`."""

    config: VisionConfig
    dtype: jnp.dtype
    remat: bool = False

    @nn.compact
    def __call__(self, patches: Patches):
        """Features [N, P, D], and those of the blocks in `config.deep`."""
        c, normal = self.config, nn.initializers.normal(0.02)
        x = nn.Dense(
            c.encoder.width,
            use_bias=c.patch_bias,
            dtype=self.dtype,
            name="patches",
        )(patches.pixels.astype(self.dtype))
        table = None
        if c.table:
            table = self.param("position", normal, (c.table, c.encoder.width))
            mixed = table[patches.rows] * patches.shares[..., None]
            x = x + mixed.sum(axis=-2).astype(self.dtype)
        windows = jnp.asarray(patches.windows)
        positions = jnp.asarray(patches.places)
        if c.class_token:
            token = self.param("class", normal, (c.encoder.width,))
            token = token if table is None else token + table[0]
            first = jnp.broadcast_to(token, (len(x), 1, x.shape[-1]))
            x = jnp.concatenate([first.astype(self.dtype), x], axis=1)
            windows = jnp.pad(windows, ((0, 0), (1, 0)))
            positions = jnp.pad(positions, ((0, 0), (1, 0), (0, 0)))
        if c.pre_norm:
            norm = make_norm(c.encoder.norm, c.encoder.norm_eps, "pre_norm")
            x = norm(x).astype(self.dtype)
        real = windows >= 0
        places = Places(
            positions,
            Masks(real[:, :, None] & real[:, None, :]),
            Masks(windows[:, :, None] == windows[:, None, :]),
        )
        encoder = Stack(c.encoder, self.dtype, self.remat, name="encoder")
        x, _, deep = encoder(x, places, taps=c.deep)
        skip = int(c.class_token)
        return x[:, skip:], tuple(y[:, skip:] for y in deep)


class Connector(nn.Module):
    """Folds squares of patches into one token each; then an MLP."""

    config: ConnectorConfig
    width: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x_NxPxD):
        """[N, P, D_vision] to image tokens [N, P / fold², D_decoder]."""
        c, x = self.config, x_NxPxD

        def norm(x):
            layer = make_norm(str(c.norm), c.norm_eps, "norm")
            return layer(x).astype(self.dtype)

        if c.norm and not c.norm_folded:
            x = norm(x)
        if c.pool == "mean":
            x = einops.reduce(x, "n (t f) d -> n t d", "mean", f=c.fold**2)
        else:
            x = einops.rearrange(x, "n (t f) d -> n t (f d)", f=c.fold**2)
        if c.norm and c.norm_folded:
            x = norm(x)

        def dense(width, name):
            return nn.Dense(width, use_bias=c.bias, dtype=self.dtype, name=name)

        if c.hidden:
            x = ACTIVATIONS[c.activation](dense(c.hidden, "up")(x))
        return dense(self.width, "down")(x)
