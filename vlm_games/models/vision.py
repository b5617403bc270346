"""Vision tower and connector: pixels to image tokens."""

import einops
import flax.linen as nn
import jax.numpy as jnp

from vlm_games.models.config import ConnectorConfig, VisionConfig
from vlm_games.models.layers import ACTIVATIONS, Stack


class VisionTower(nn.Module):
    """A ViT: patches, learned positions, bidirectional blocks."""

    config: VisionConfig
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, pixels_NxHxWxC):
        """uint8 [N, H, W, 3] to patch features [N, grid * grid, D]."""
        c = self.config
        x = pixels_NxHxWxC.astype(jnp.float32) / 255.0
        x = (x - jnp.array(c.mean)) / jnp.array(c.std)
        x = einops.rearrange(
            x,
            "n (y p) (x q) c -> n (y x) (p q c)",
            p=c.patch_size,
            q=c.patch_size,
        ).astype(self.dtype)
        x = nn.Dense(c.encoder.width, dtype=self.dtype, name="patches")(x)
        position = self.param(
            "position",
            nn.initializers.normal(0.02),
            (c.grid * c.grid, c.encoder.width),
        )
        x = x + position.astype(self.dtype)
        n, t, _ = x.shape
        everywhere = jnp.ones((n, t, t), bool)
        positions = jnp.broadcast_to(jnp.arange(t), (n, t))
        x, _ = Stack(c.encoder, self.dtype, name="encoder")(
            x, positions, everywhere
        )
        return x


class Connector(nn.Module):
    """Folds squares of patches into one token each; then an MLP."""

    config: ConnectorConfig
    grid: int
    width: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, patches_NxPxD):
        """[N, grid * grid, D_vision] to image tokens [N, T, D_decoder]."""
        c = self.config
        x = einops.rearrange(
            patches_NxPxD,
            "n (y a x b) d -> n (y x) (a b d)",
            a=c.shuffle,
            b=c.shuffle,
            x=self.grid // c.shuffle,
        )
        x = nn.Dense(c.hidden, dtype=self.dtype, name="up")(x)
        x = ACTIVATIONS[c.activation](x)
        return nn.Dense(self.width, dtype=self.dtype, name="down")(x)
