"""The VLM: three parts in one Linen module, and its pure functions.

pixels --encode_images--> image tokens --+
                                         v
tokens ---------------------> [embed] -> decoder -> hidden -> logits
                                         ^
                         cache (extend) or mask (forward)
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from vlm_games.models.cache import Cache
from vlm_games.models.config import VLMConfig
from vlm_games.models.layers import Stack
from vlm_games.models.vision import Connector, VisionTower

Params = Any  # a plain pytree of arrays, as Linen names them


class VLM(nn.Module):
    """Vision tower, connector and causal decoder."""

    config: VLMConfig

    def setup(self):
        c, dtype = self.config, self.config.compute_dtype
        self.vision = VisionTower(c.vision, dtype)
        self.connector = Connector(
            c.connector, c.vision.grid, c.decoder.width, dtype
        )
        self.embed = nn.Embed(c.vocab_size, c.decoder.width, dtype=dtype)
        self.decoder = Stack(c.decoder, dtype)
        if not c.tie_embeddings:
            self.head = nn.Dense(c.vocab_size, use_bias=False, dtype=dtype)

    def encode_images(self, pixels_NxHxWxC):
        return self.connector(self.vision(pixels_NxHxWxC))

    def decode(
        self,
        tokens_BxL,
        image_slots_BxL,
        image_tokens_MxD,
        positions_BxL,
        mask_BxLxS,
        layers=None,
    ):
        x = self.embed(tokens_BxL) * self.config.embed_scale
        # Slot -1 (no image token here) clips to 0 and is masked out.
        images = image_tokens_MxD.at[image_slots_BxL].get(mode="clip")
        x = jnp.where(image_slots_BxL[..., None] >= 0, images, x)
        x = x.astype(self.config.compute_dtype)
        return self.decoder(x, positions_BxL, mask_BxLxS, layers)

    def logits(self, hidden):
        if self.config.tie_embeddings:
            return self.embed.attend(hidden).astype(jnp.float32)
        return self.head(hidden).astype(jnp.float32)

    def __call__(self, pixels, tokens, slots, positions, mask):
        """Touches every parameter, for initialisation."""
        images = self.encode_images(pixels).reshape(
            -1, self.config.decoder.width
        )
        hidden, _ = self.decode(tokens, slots, images, positions, mask)
        return self.logits(hidden)


def init_params(config: VLMConfig, key: jax.Array) -> Params:
    """Random float32 params of the architecture `config`."""
    size = config.vision.image_size
    ints = jnp.zeros((1, 1), jnp.int32)
    return jax.jit(VLM(config).init)(
        key,
        jnp.zeros((1, size, size, 3), jnp.uint8),
        ints,
        ints,
        ints,
        jnp.ones((1, 1, 1), bool),
    )["params"]


def encode_images(config: VLMConfig, params: Params, pixels_NxHxWxC):
    """uint8 [N, H, W, 3] to image tokens [N, T, D]."""
    return VLM(config).apply(
        {"params": params}, pixels_NxHxWxC, method=VLM.encode_images
    )


def unembed(config: VLMConfig, params: Params, hidden):
    """Hidden states [..., D] to float32 logits [..., V]."""
    return VLM(config).apply({"params": params}, hidden, method=VLM.logits)


def forward(
    config: VLMConfig,
    params: Params,
    tokens_BxL,
    image_slots_BxL,
    image_tokens_MxD,
    positions_BxL,
    mask_BxLxL,
):
    """Reads whole sequences at once, without a cache.

    Args:
      tokens_BxL: int32; the image placeholder wherever an image token goes.
      image_slots_BxL: int32; row of `image_tokens_MxD` that stands at this
        place, -1 where it holds text.
      image_tokens_MxD: tokens of all images of the batch, flattened: any
        number of images per row, anywhere in the text.
      positions_BxL: int32, rotary positions.
      mask_BxLxL: bool, [b, i, j] says that i may attend to j.

    Returns:
      hidden states [B, L, D]; see `unembed`.
    """
    hidden, _ = VLM(config).apply(
        {"params": params},
        tokens_BxL,
        image_slots_BxL,
        image_tokens_MxD,
        positions_BxL,
        mask_BxLxL,
        method=VLM.decode,
    )
    return hidden


def extend(
    config: VLMConfig,
    params: Params,
    cache: Cache,
    tokens_BxL,
    new_B,
    image_slots_BxL,
    image_tokens_MxD,
):
    """Reads further tokens of every row: prefill, a next turn, one token.

    Args:
      cache: what the rows hold so far; empty for a prefill.
      tokens_BxL: int32, right-padded.
      new_B: int32, how many of a row's L tokens are real; 0 leaves it as is.
      image_slots_BxL, image_tokens_MxD: as in `forward`.

    Returns:
      (hidden [B, L, D], cache with `new_B` more tokens per row). A row that
      would outgrow its capacity loses the tokens beyond it: callers size the
      cache, see `sampling.session`.
    """
    offsets = jnp.arange(tokens_BxL.shape[1])[None]
    real_BxL = offsets < new_B[:, None]
    positions_BxL = cache.length[:, None] + offsets
    # Causal, and within what the row holds: keys beyond a query's own
    # position are either padding or stale.
    mask = jnp.arange(cache.capacity)[None, None] <= positions_BxL[..., None]
    # Padding is written past the end, where `write_cache` drops it.
    write_BxL = jnp.where(real_BxL, positions_BxL, cache.capacity + offsets)
    hidden, layers = VLM(config).apply(
        {"params": params},
        tokens_BxL,
        image_slots_BxL,
        image_tokens_MxD,
        write_BxL,
        mask,
        cache.layers,
        method=VLM.decode,
    )
    return hidden, dataclasses.replace(
        cache, layers=layers, length=cache.length + new_B
    )
