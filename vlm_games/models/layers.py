"""Norms, rotary embedding, attention and feed-forward, as Linen modules."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from vlm_games.models.config import TransformerConfig

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


def make_norm(kind: str, eps: float, name: str) -> nn.Module:
    """Returns the normalisation layer `kind`, computed in float32."""
    if kind == "rmsnorm":
        return nn.RMSNorm(epsilon=eps, dtype=jnp.float32, name=name)
    if kind == "layernorm":
        return nn.LayerNorm(epsilon=eps, dtype=jnp.float32, name=name)
    raise ValueError(f"norm={kind!r}: expected 'rmsnorm' or 'layernorm'.")


def rotary(x_BxLxHxK, positions_BxL, theta: float):
    """Rotates pairs (k, k + K/2) of each head by an angle per position.

    Source: RoFormer, arXiv 2104.09864, in the half-split layout that Llama
    checkpoints use. Angles are computed in float32.
    """
    half = x_BxLxHxK.shape[-1] // 2
    frequency = theta ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angle = positions_BxL[..., None, None].astype(jnp.float32) * frequency
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    first, second = jnp.split(x_BxLxHxK.astype(jnp.float32), 2, axis=-1)
    rotated = [first * cos - second * sin, second * cos + first * sin]
    return jnp.concatenate(rotated, axis=-1).astype(x_BxLxHxK.dtype)


def attend(q_BxLxHxK, k_BxSxGxK, v_BxSxGxK, mask_BxLxS):
    """Scaled dot-product attention; H query heads share G key heads.

    Returns:
      [B, L, H, K], in the dtype of the values; the softmax is float32.
    """
    b, length, h, k = q_BxLxHxK.shape
    g = k_BxSxGxK.shape[2]
    q = q_BxLxHxK.reshape(b, length, g, h // g, k) * k**-0.5
    scores = jnp.einsum("blgrk,bsgk->bgrls", q, k_BxSxGxK)
    scores = scores.astype(jnp.float32)
    scores = jnp.where(mask_BxLxS[:, None, None], scores, MASKED)
    weights = jax.nn.softmax(scores, axis=-1).astype(v_BxSxGxK.dtype)
    out = jnp.einsum("bgrls,bsgk->blgrk", weights, v_BxSxGxK)
    return out.reshape(b, length, h, k)


class Attention(nn.Module):
    """Self-attention over the call's tokens, or over a cache they join."""

    config: TransformerConfig
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x_BxLxD, positions_BxL, mask_BxLxS, layer_cache=None):
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
        if c.rope_theta is not None:
            q = rotary(q, positions_BxL, c.rope_theta)
            k = rotary(k, positions_BxL, c.rope_theta)
        if layer_cache is not None:
            k, v = layer_cache = write_cache(layer_cache, k, v, positions_BxL)
        out = attend(q, k, v, mask_BxLxS)
        out = nn.DenseGeneral(
            c.width,
            axis=(-2, -1),
            use_bias=c.out_bias,
            dtype=self.dtype,
            name="out",
        )(out)
        return out, layer_cache


def write_cache(layer_cache, k_BxLxGxK, v_BxLxGxK, positions_BxL):
    """Puts new keys and values at their positions, row by row.

    A position outside the cache (padding is sent there) is dropped.
    """
    rows = jnp.arange(k_BxLxGxK.shape[0])[:, None]
    old_k, old_v = layer_cache

    def put(old, new):
        return old.at[rows, positions_BxL].set(
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
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x_BxLxD, positions_BxL, mask_BxLxS, layer_cache=None):
        c = self.config
        y = make_norm(c.norm, c.norm_eps, "attention_norm")(x_BxLxD)
        y, layer_cache = Attention(c, self.dtype, name="attention")(
            y.astype(self.dtype), positions_BxL, mask_BxLxS, layer_cache
        )
        x_BxLxD = x_BxLxD + y
        y = make_norm(c.norm, c.norm_eps, "mlp_norm")(x_BxLxD)
        y = FeedForward(c, self.dtype, name="mlp")(y.astype(self.dtype))
        return x_BxLxD + y, layer_cache


class Stack(nn.Module):
    """`depth` blocks and a final norm."""

    config: TransformerConfig
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x_BxLxD, positions_BxL, mask_BxLxS, layers=None):
        """Returns (normed stream [B, L, D], updated caches per layer)."""
        updated = []
        for i in range(self.config.depth):
            layer_cache = None if layers is None else layers[i]
            x_BxLxD, layer_cache = Block(
                self.config, self.dtype, name=f"block_{i}"
            )(x_BxLxD, positions_BxL, mask_BxLxS, layer_cache)
            updated.append(layer_cache)
        norm = make_norm(self.config.norm, self.config.norm_eps, "norm")
        x_BxLxD = norm(x_BxLxD).astype(self.dtype)
        return x_BxLxD, None if layers is None else tuple(updated)
