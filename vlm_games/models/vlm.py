"""The VLM: three parts in one Linen module, and its pure functions.

pixels --encode_images--> image tokens --+
                                         v
tokens ---------------------> [embed] -> decoder -> hidden -> logits
                                         ^
          cache (read, extend, say) or mask (forward)
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from vlm_games.models.cache import Cache, Layers, append
from vlm_games.models.config import VLMConfig
from vlm_games.models.layers import Masks, Places, Stack
from vlm_games.models.low_rank import add_low_rank
from vlm_games.models.panels import use_panels
from vlm_games.models.vision import (
    Connector,
    Patches,
    VisionTower,
    square_patches,
)

Params = Any  # a plain pytree of arrays, as Linen names them


class VLM(nn.Module):
    """Vision tower, connector and causal decoder.

    Linear maps whose params hold a low-rank term add it; see `low_rank`.
    """

    config: VLMConfig

    def setup(self):
        c, dtype = self.config, self.config.compute_dtype
        width = c.decoder.width
        self.vision = VisionTower(c.vision, dtype, c.remat)
        self.connector = Connector(c.connector, width, dtype)
        deep: Any = c.deep_connector  # there is one if c.vision.deep is not ()
        self.deep = [Connector(deep, width, dtype) for _ in c.vision.deep]
        self.embed = nn.Embed(c.vocab_size, width, dtype=dtype)
        self.decoder = Stack(c.decoder, dtype, c.remat)
        if not c.tie_embeddings:
            self.head = nn.Dense(c.vocab_size, use_bias=False, dtype=dtype)
        if c.newline:
            self.newline = self.param(
                "newline", nn.initializers.normal(0.02), (width,)
            )

    def encode(self, patches: Patches):
        with nn.intercept_methods(add_low_rank):
            x, deep = self.vision(patches)
            parts = [self.connector(x)]
            parts += [f(y) for f, y in zip(self.deep, deep, strict=True)]
        return jnp.concatenate(parts, axis=-1)

    def decode(
        self, tokens_BxL, image_slots_BxL, image_tokens_MxD, places, past=()
    ):
        x = self.embed(tokens_BxL) * jnp.asarray(
            self.config.embed_scale, self.config.compute_dtype
        )
        # Slot -1 (no image token here) clips to 0 and is masked out.
        images = image_tokens_MxD.at[image_slots_BxL].get(mode="clip")
        here = image_slots_BxL[..., None] >= 0
        first, *deep = jnp.split(images, 1 + len(self.deep), axis=-1)
        x = jnp.where(here, first, x).astype(self.config.compute_dtype)
        added = [jnp.where(here, part, 0) for part in deep]
        # The last one is the innermost: it takes the place of the map.
        with (
            nn.intercept_methods(add_low_rank),
            nn.intercept_methods(use_panels),
        ):
            hidden, new, _ = self.decoder(x, places, past, added)
        return hidden, new

    def logits(self, hidden):
        if self.config.tie_embeddings:
            return self.embed.attend(hidden).astype(jnp.float32)
        with nn.intercept_methods(use_panels):
            return self.head(hidden).astype(jnp.float32)

    def __call__(self, patches, tokens, slots, places):
        """Touches every parameter, for initialisation."""
        images = self.encode(patches)
        images = images.reshape(-1, images.shape[-1])
        hidden, _ = self.decode(tokens, slots, images, places)
        return self.logits(hidden)


def init_params(config: VLMConfig, key: jax.Array) -> Params:
    """Random float32 params of the architecture `config`."""
    size = config.vision.image_size
    pixels = jnp.zeros((1, size, size, 3), jnp.uint8)
    ints = jnp.zeros((1, 1), jnp.int32)
    positions = jnp.zeros((1, 1, config.axes), jnp.int32)
    mask = jnp.ones((1, 1, 1), bool)
    return jax.jit(VLM(config).init)(
        key,
        square_patches(config.vision, config.connector.fold, pixels),
        ints,
        ints,
        Places(positions, Masks(mask), Masks(mask)),
    )["params"]


def encode_patches(config: VLMConfig, params: Params, patches: Patches):
    """Patches of N images to image tokens [N, T, D].

    With DeepStack D counts the features of the decoder's first blocks, too.
    """
    return VLM(config).apply({"params": params}, patches, method=VLM.encode)


def encode_images(config: VLMConfig, params: Params, pixels_NxHxWxC):
    """uint8 [N, H, W, 3] to image tokens [N, T, D]."""
    fold = config.connector.fold
    patches = square_patches(config.vision, fold, pixels_NxHxWxC)
    return encode_patches(config, params, patches)


def no_image_tokens(config: VLMConfig):
    """[1, D] of zeros, for text alone: no image slot names it."""
    return jnp.zeros((1, config.image_token_width), config.compute_dtype)


def unembed(config: VLMConfig, params: Params, hidden):
    """Hidden states [..., D] to float32 logits [..., V]."""
    return VLM(config).apply({"params": params}, hidden, method=VLM.logits)


def rope_positions(config: VLMConfig, counts_BxL, image_slots_BxL, seen_BxL):
    """Rotary positions [B, L, A] of text with square images of one size.

    With several axes (time, height, width) an image of s x s tokens stands on
    a grid and takes s positions instead of s * s (M-RoPE, arXiv 2409.12191).

    Args:
      counts_BxL: int32, the position if every token took one.
      image_slots_BxL: as in `forward`.
      seen_BxL: int32, image tokens that a token sees, itself included, since
        `counts` last was a position.
    """
    if config.axes == 1:
        return counts_BxL[..., None]
    size = config.tokens_per_image
    side = config.vision.grid // config.connector.fold
    here = image_slots_BxL >= 0
    offset = jnp.where(here, (seen_BxL - 1) % size, 0)
    whole = (seen_BxL - here * (offset + 1)) // size
    start = counts_BxL - offset - whole * (size - side)
    grid = jnp.stack([0 * offset, offset // side, offset % side], axis=-1)
    return start[..., None] + jnp.where(here[..., None], grid, 0)


def image_runs(image_slots_BxL):
    """Number of the run of image tokens that each token is in; 0 for text."""
    here = image_slots_BxL >= 0
    starts = here & ~jnp.pad(here, ((0, 0), (1, 0)))[:, :-1]
    return jnp.where(here, jnp.cumsum(starts, axis=1), 0)


def same_run(query_BxL, key_BxS):
    """bool [B, L, S]: both in the same run of image tokens."""
    return (query_BxL[:, :, None] == key_BxS[:, None]) & (
        query_BxL[:, :, None] > 0
    )


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
      positions_BxL: int32 [B, L], counting tokens, or [B, L, A] of a rotary
        embedding of A axes: without them images are squares of one size.
      mask_BxLxL: bool, [b, i, j] says that i may attend to j.

    Returns:
      hidden states [B, L, D]; see `unembed`.
    """
    positions, mask, window = positions_BxL, mask_BxLxL, config.decoder.window
    if positions.ndim == 2:
        seen = jnp.sum(mask & (image_slots_BxL >= 0)[:, None], axis=-1)
        positions = rope_positions(config, positions, image_slots_BxL, seen)
    if config.image_attention == "bidirectional":
        runs = image_runs(image_slots_BxL)
        mask = mask | same_run(runs, runs)
    local = None
    if window:
        # Counted in tokens: an image has fewer positions than tokens.
        place = mask_BxLxL.sum(axis=-1)
        local = Masks(mask & (place[:, :, None] - place[:, None] < window))
    hidden, _ = VLM(config).apply(
        {"params": params},
        tokens_BxL,
        image_slots_BxL,
        image_tokens_MxD,
        Places(positions, Masks(mask), local),
        method=VLM.decode,
    )
    return hidden


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Reading:
    """What reading L tokens gave.

    Attributes:
      hidden: [B, L, D], or [B, 1, D] if no more was wanted; see `unembed`.
      new: keys and values, of these tokens or, of `say`, of all that was said;
        see `cache.append`.
      positions: int32 [B, L, A], of the tokens.
    """

    hidden: jax.Array
    new: Layers
    positions: jax.Array


def read(
    config: VLMConfig,
    params: Params,
    cache: Cache | None,
    tokens_BxL,
    new_B,
    image_slots_BxL,
    image_tokens_MxD,
    positions_BxLxA=None,
    last_only: bool = False,
) -> Reading:
    """Reads further tokens of every row: a prefill, or a next turn.

    Args:
      cache: what the rows hold so far; None for a prefill.
      tokens_BxL: int32, right-padded.
      new_B: int32, how many of a row's L tokens are real.
      image_slots_BxL, image_tokens_MxD: as in `forward`.
      positions_BxLxA: int32, of the rotary embedding; None to count on from
        what the row holds, images being squares of one size.
      last_only: whether only `hidden` [B, 1, D] of each row's last token is
        wanted.
    """
    length = tokens_BxL.shape[1]
    offsets = jnp.arange(length)[None]
    if positions_BxLxA is None:
        seen = jnp.cumsum(image_slots_BxL >= 0, axis=1)
        counts = jnp.broadcast_to(offsets, tokens_BxL.shape)
        if cache is not None:
            counts = counts + cache.next_position[:, None]
        positions_BxLxA = rope_positions(config, counts, image_slots_BxL, seen)
    # Padding comes last, where no real token sees it.
    back = offsets[:, :, None] - offsets[:, None]
    own, window, local = back >= 0, config.decoder.window, None
    if config.image_attention == "bidirectional":
        real = offsets < new_B[:, None]
        runs = image_runs(image_slots_BxL) * real
        own = own | same_run(runs, runs)
    if window:
        local = Masks(own & (back < window))
    wanted = jnp.maximum(new_B - 1, 0) if last_only else None
    masks = Masks(own)
    past: tuple = ()
    if cache is not None:
        past = (cache.layers,)
        back = _back(cache, offsets)
        masks = Masks(own, (_held(cache),))
        if local is not None:
            local = Masks(local.own, (_held(cache) & (back < window),))
    read: Any = VLM(config).apply(
        {"params": params},
        tokens_BxL,
        image_slots_BxL,
        image_tokens_MxD,
        Places(positions_BxLxA, masks, local, wanted),
        past,
        method=VLM.decode,
    )
    hidden, new = read
    return Reading(hidden, new, positions_BxLxA)


def extend(
    config: VLMConfig,
    params: Params,
    cache: Cache,
    tokens_BxL,
    new_B,
    image_slots_BxL,
    image_tokens_MxD,
    positions_BxLxA=None,
    last_only: bool = False,
):
    """Reads and keeps further tokens of every row; arguments as of `read`.

    A prefill (of an empty cache), a further turn, one token: all alike.

    Returns:
      (hidden [B, L, D], cache with `new_B` more tokens per row).
    """
    found = read(
        config,
        params,
        cache,
        tokens_BxL,
        new_B,
        image_slots_BxL,
        image_tokens_MxD,
        positions_BxLxA,
        last_only,
    )
    return found.hidden, append(cache, found.new, found.positions, new_B)


def say(
    config: VLMConfig,
    params: Params,
    cache: Cache,
    said: Layers,
    step,
    token_B,
) -> Reading:
    """Reads the `step`-th token that every row says.

    Args:
      cache: what the rows held before they spoke.
      said: keys and values of what they said since; T places, all rows in
        step, of which `step` are filled.
      step: int32 scalar. token_B: int32.

    Returns:
      a Reading whose `new` is all that was said.
    """
    tokens = token_B[:, None]
    positions = (cache.next_position + step)[:, None, None]
    positions = jnp.broadcast_to(positions, (*tokens.shape, config.axes))
    places = jnp.arange(said[0][1].shape[2])[None, None]
    masks, local = Masks(places <= step, (_held(cache),)), None
    window = config.decoder.window
    if window:
        near = _back(cache, step[None, None]) < window
        local = Masks(
            masks.own & (step - places < window), (_held(cache) & near,)
        )
    read: Any = VLM(config).apply(
        {"params": params},
        tokens,
        jnp.full(tokens.shape, -1),
        no_image_tokens(config),
        Places(positions, masks, local, step=step),
        (cache.layers, said),
        method=VLM.decode,
    )
    hidden, said = read
    return Reading(hidden, said, positions)


def _held(cache: Cache):
    """bool [B, 1, S], which places of the cache hold tokens."""
    places = jnp.arange(cache.capacity)[None, None]
    return places < cache.length[:, None, None]


def _back(cache: Cache, offsets):
    """int32 [B, L, S], how far a place of the cache is behind a new token."""
    places = jnp.arange(cache.capacity)[None, None]
    return (cache.length[:, None] + offsets)[..., None] - places
