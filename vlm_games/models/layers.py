"""Norms, rotary embedding, attention and feed-forward, as Linen modules."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vlm_games.models.config import RopeConfig, TransformerConfig

ACTIVATIONS = {
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
    "silu": jax.nn.silu,
    "relu": jax.nn.relu,
}

# Masked scores: finite, so that a row with nothing to attend to (padding)
# gives a mean instead of NaN.
MASKED = -1e9


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Places:
    """Where a call's tokens stand and what they may attend to.

    Attributes:
      positions: int32 [B, L, A], of the rotary embedding.
      mask: bool [B, L, S], of the blocks that attend to everything.
      local_mask: the same of the local blocks; None if there are none.
      slots: int32 [B, L], places in the cache, for a call that has one.
    """

    positions: jax.Array
    mask: jax.Array
    local_mask: jax.Array | None = None
    slots: jax.Array | None = None


class OffsetRMSNorm(nn.Module):
    """RMS norm whose weights are kept as their difference from 1 (Gemma)."""

    epsilon: float

    @nn.compact
    def __call__(self, x):
        """Returns float32, of the shape of `x`."""
        x = x.astype(jnp.float32)
        scale = self.param("scale", nn.initializers.zeros, (x.shape[-1],))
        mean_square = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
        x = x * jax.lax.rsqrt(mean_square + self.epsilon)
        return x * (1.0 + scale.astype(jnp.float32))


def make_norm(kind: str, eps: float, name: str) -> nn.Module:
    """Returns the normalisation layer `kind`, computed in float32."""
    if kind == "rmsnorm":
        return nn.RMSNorm(epsilon=eps, dtype=jnp.float32, name=name)
    if kind == "layernorm":
        return nn.LayerNorm(epsilon=eps, dtype=jnp.float32, name=name)
    if kind == "rmsnorm_offset":
        return OffsetRMSNorm(eps, name=name)
    raise ValueError(
        f"norm={kind!r}: expected 'rmsnorm', 'rmsnorm_offset' or 'layernorm'."
    )


def frequencies(rope: RopeConfig, half: int) -> tuple[np.ndarray, np.ndarray]:
    """Per pair of a head: its frequency, and the position's axis it turns by.

    Sources: RoFormer, arXiv 2104.09864; M-RoPE, arXiv 2409.12191.

    Returns:
      (float32 [half] radians per position, int [half]).
    """
    pair, axes = np.arange(half), np.zeros(half, np.int64)
    size = half
    if rope.sections and sum(rope.sections) != half:
        raise ValueError(
            f"rope sections {rope.sections} do not add up to {half} pairs."
        )
    if rope.layout == "interleaved":
        for axis, section in enumerate(rope.sections):
            axes[axis : section * rope.axes : rope.axes] = axis
    elif rope.sections:
        axes = np.repeat(np.arange(rope.axes), rope.sections)
        if rope.layout == "axial":
            size = rope.sections[0]
            pair = np.concatenate([np.arange(s) for s in rope.sections])
    frequency = rope.theta ** (-pair / size) / rope.factor
    return frequency.astype(np.float32), axes


def rotary(x_BxLxHxK, positions_BxLxA, rope: RopeConfig):
    """Rotates pairs (k, k + K/2) of each head by an angle per position.

    The half-split layout that Llama checkpoints use. Angles are computed in
    float32.
    """
    frequency, axes = frequencies(rope, x_BxLxHxK.shape[-1] // 2)
    turned = positions_BxLxA[..., axes].astype(jnp.float32)
    angle = (turned * frequency)[:, :, None]
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    first, second = jnp.split(x_BxLxHxK.astype(jnp.float32), 2, axis=-1)
    rotated = [first * cos - second * sin, second * cos + first * sin]
    return jnp.concatenate(rotated, axis=-1).astype(x_BxLxHxK.dtype)


def attend(q_BxLxHxK, k_BxSxGxK, v_BxSxGxK, mask_BxLxS, scale=None):
    """Scaled dot-product attention; H query heads share G key heads.

    Args:
      scale: of the scores; None for K ** -0.5.

    Returns:
      [B, L, H, K], in the dtype of the values; the softmax is float32.
    """
    b, length, h, k = q_BxLxHxK.shape
    g = k_BxSxGxK.shape[2]
    q = q_BxLxHxK.reshape(b, length, g, h // g, k)
    q = q * (k**-0.5 if scale is None else scale)
    scores = jnp.einsum("blgrk,bsgk->bgrls", q, k_BxSxGxK)
    scores = scores.astype(jnp.float32)
    scores = jnp.where(mask_BxLxS[:, None, None], scores, MASKED)
    weights = jax.nn.softmax(scores, axis=-1).astype(v_BxSxGxK.dtype)
    out = jnp.einsum("bgrls,bsgk->blgrk", weights, v_BxSxGxK)
    return out.reshape(b, length, h, k)


class Attention(nn.Module):
    """Self-attention over the call's tokens, or over a cache they join."""

    config: TransformerConfig
    local: bool
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x_BxLxD, places: Places, layer_cache=None):
        """Returns (output [B, L, D], updated (k, v) of the cache or None)."""
        c = self.config

        def project(name, heads):
            return nn.DenseGeneral(
                (heads, c.head_dim),
                use_bias=c.qkv_bias,
                dtype=self.dtype,
                name=name,
            )(x_BxLxD)

        q = project("query", c.heads)
        k, v = project("key", c.kv_heads), project("value", c.kv_heads)
        if c.qk_norm:
            q = make_norm(c.norm, c.norm_eps, "query_norm")(q)
            k = make_norm(c.norm, c.norm_eps, "key_norm")(k)
            q, k = q.astype(self.dtype), k.astype(self.dtype)
        rope = (self.local and c.local_rope) or c.rope
        if rope is not None:
            q = rotary(q, places.positions, rope)
            k = rotary(k, places.positions, rope)
        if layer_cache is not None:
            k, v = layer_cache = write_cache(layer_cache, k, v, places.slots)
        mask = places.local_mask if self.local else places.mask
        out = attend(q, k, v, mask, c.scale)
        out = nn.DenseGeneral(
            c.width,
            axis=(-2, -1),
            use_bias=c.out_bias,
            dtype=self.dtype,
            name="out",
        )(out)
        return out, layer_cache


def write_cache(layer_cache, k_BxLxGxK, v_BxLxGxK, slots_BxL):
    """Puts new keys and values at their slots, row by row.

    A slot outside the cache (padding is sent there) is dropped.
    """
    rows = jnp.arange(k_BxLxGxK.shape[0])[:, None]
    old_k, old_v = layer_cache

    def put(old, new):
        return old.at[rows, slots_BxL].set(
            new.astype(old.dtype), mode="drop", unique_indices=True
        )

    return put(old_k, k_BxLxGxK), put(old_v, v_BxLxGxK)


class FeedForward(nn.Module):
    """act(up(x)) or, gated, act(gate(x)) * up(x); then down."""

    config: TransformerConfig
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x_BxLxD):
        c = self.config

        def dense(name, width):
            return nn.Dense(
                width, use_bias=c.mlp_bias, dtype=self.dtype, name=name
            )

        act = ACTIVATIONS[c.activation]
        hidden = dense("up", c.mlp_width)(x_BxLxD)
        if c.gated:
            hidden = act(dense("gate", c.mlp_width)(x_BxLxD)) * hidden
        else:
            hidden = act(hidden)
        return dense("down", c.width)(hidden)


class Block(nn.Module):
    """Pre-norm block: attention and feed-forward on a residual stream."""

    config: TransformerConfig
    local: bool
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x_BxLxD, places: Places, layer_cache=None):
        """Returns (stream [B, L, D], updated (k, v) of the cache or None)."""
        c = self.config

        def norm(name, x):
            return make_norm(c.norm, c.norm_eps, name)(x).astype(self.dtype)

        y, layer_cache = Attention(c, self.local, self.dtype, name="attention")(
            norm("attention_norm", x_BxLxD), places, layer_cache
        )
        if c.post_norms:
            y = norm("attention_post_norm", y)
        x_BxLxD = x_BxLxD + y
        y = norm("mlp_norm", x_BxLxD)
        y = FeedForward(c, self.dtype, name="mlp")(y)
        if c.post_norms:
            y = norm("mlp_post_norm", y)
        return x_BxLxD + y, layer_cache


class Stack(nn.Module):
    """`depth` blocks and, mostly, a final norm.

    With `remat` gradients keep what enters a block, and nothing within it.
    """

    config: TransformerConfig
    dtype: jnp.dtype
    remat: bool = False

    @nn.compact
    def __call__(self, x_BxLxD, places: Places, layers=None, added=(), taps=()):
        """Runs all blocks.

        Args:
          x_BxLxD: the stream. places: of its tokens.
          layers: caches per block, or None.
          added: [B, L, D] each, joins the stream after block 0, 1, ...
          taps: numbers of the blocks whose output is wanted as well.

        Returns:
          (stream [B, L, D], updated caches per block or None, outputs [B, L,
          D] of the taps).
        """
        c, updated, tapped = self.config, [], {}
        make_block = nn.remat(Block) if self.remat else Block
        for i in range(c.depth):
            layer_cache = None if layers is None else layers[i]
            local = bool(c.local) and c.local[i]
            block = make_block(c, local, self.dtype, name=f"block_{i}")
            x_BxLxD, layer_cache = block(x_BxLxD, places, layer_cache)
            if i < len(added):
                x_BxLxD = x_BxLxD + added[i].astype(self.dtype)
            if i in taps:
                tapped[i] = x_BxLxD
            updated.append(layer_cache)
        if c.final_norm:
            norm = make_norm(c.norm, c.norm_eps, "norm")
            x_BxLxD = norm(x_BxLxD).astype(self.dtype)
        caches = None if layers is None else tuple(updated)
        return x_BxLxD, caches, tuple(tapped[i] for i in taps)
