"""Norms, rotary embedding, attention and feed-forward, as Linen modules."""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vlm_games.models.config import RopeConfig, TransformerConfig
from vlm_games.models.mesh import WHOLE, is_piece, whole

ACTIVATIONS = {
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
    "silu": jax.nn.silu,
    "relu": jax.nn.relu,
}

# Cosine and sine, float32 [B, L, K / 2], of the angles by which heads turn.
Turns = tuple[jax.Array, jax.Array]

# Masked scores: finite, so that a row with nothing to attend to (padding)
# gives a mean instead of NaN.
MASKED = -1e9


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Masks:
    """What L tokens may attend to, bool [B, L, S] each (or broadcast to it).

    Attributes:
      own: S = L, each other; or, with `Places.step`, what is said now.
      past: what was read before, a mask per part.
    """

    own: jax.Array
    past: tuple[jax.Array, ...] = ()


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Places:
    """Where a call's tokens stand and what they may attend to.

    Attributes:
      positions: int32 [B, L, A], of the rotary embedding.
      masks: of the blocks that attend to everything.
      local: of the local blocks; None if there are none.
      wanted: int32 [B], the one token of a row whose output is wanted: the
        last block computes no other. None for all.
      step: int32 scalar, where among what is said now this call's one token
        goes; None if it joins nothing.
      turns, local_turns: how heads turn there, see `turn_by`; a `Stack` finds
        them.
    """

    positions: jax.Array
    masks: Masks
    local: Masks | None = None
    wanted: jax.Array | None = None
    step: jax.Array | None = None
    turns: Turns | None = None
    local_turns: Turns | None = None

    def choose(self, x_BxLxX):
        """The wanted token of each row, [B, 1, X]; or all, [B, L, X]."""
        if self.wanted is None or x_BxLxX.shape[1] == 1:
            return x_BxLxX
        x = jnp.broadcast_to(x_BxLxX, (len(self.wanted), *x_BxLxX.shape[1:]))
        return jnp.take_along_axis(x, self.wanted[:, None, None], axis=1)


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
            f"rope sections {rope.sections} do not add up to {half} pairs: "
            "they share out half a head's size; see models.config.RopeConfig."
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


def turn_by(positions_BxLxA, rope: RopeConfig, half: int) -> Turns:
    """Cosine and sine of an angle per position and pair of a head.

    Angles are computed in float32.
    """
    frequency, axes = frequencies(rope, half)
    angle = positions_BxLxA[..., axes].astype(jnp.float32) * frequency
    # XLA would else find them anew in every block, for each head.
    return jax.lax.optimization_barrier((jnp.cos(angle), jnp.sin(angle)))


def rotary(x_BxLxHxK, turns: Turns):
    """Rotates pairs (k, k + K/2) of each head.

    The half-split layout that Llama checkpoints use.
    """
    cos, sin = (x[:, :, None] for x in turns)
    first, second = jnp.split(x_BxLxHxK.astype(jnp.float32), 2, axis=-1)
    rotated = [first * cos - second * sin, second * cos + first * sin]
    return jnp.concatenate(rotated, axis=-1).astype(x_BxLxHxK.dtype)


def attend(q_BxLxHxK, parts, scale=None):
    """Scaled dot-product attention; H query heads share G key heads.

    Args:
      parts: what is attended to, one softmax over all of it: (keys
        [B, G, K, S], values [B, G, S, K], mask bool [B, L, S]) each.
      scale: of the scores; None for K ** -0.5.

    Returns:
      [B, L, H, K], in the dtype of the values; the softmax is float32.
    """
    b, length, h, k = q_BxLxHxK.shape
    g = parts[0][0].shape[1]
    q = q_BxLxHxK * (k**-0.5 if scale is None else scale)
    # Heads that share keys are rows of one matrix product.
    q = q.reshape(b, length, g, h // g, k).transpose(0, 2, 3, 1, 4)
    q = q.reshape(b, g, h // g * length, k)

    def score(keys, mask):
        scores = jnp.einsum("bgmk,bgks->bgms", q, keys).astype(jnp.float32)
        scores = scores.reshape(b, g, h // g, length, -1)
        return jnp.where(mask[:, None, None], scores, MASKED)

    scores = [score(keys, mask) for keys, _, mask in parts]
    tops = [x.max(axis=-1, keepdims=True) for x in scores]
    highest = functools.reduce(jnp.maximum, tops)
    weights = [jnp.exp(x - jax.lax.stop_gradient(highest)) for x in scores]
    total: Any = sum(x.sum(axis=-1, keepdims=True) for x in weights)
    out = sum(
        jnp.einsum(
            "bgms,bgsk->bgmk",
            x.reshape(b, g, h // g * length, -1).astype(values.dtype),
            values,
            preferred_element_type=jnp.float32,
        )
        for x, (_, values, _) in zip(weights, parts, strict=True)
    )
    # Divided last: there are fewer features than things to attend to.
    out = out / total.reshape(b, g, h // g * length, 1)
    out = out.astype(parts[0][1].dtype)
    out = out.reshape(b, g, h // g, length, k).transpose(0, 3, 1, 2, 4)
    return out.reshape(b, length, h, k)


class Attention(nn.Module):
    """Self-attention over the call's tokens and what was read before."""

    config: TransformerConfig
    local: bool
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x_BxLxD, places: Places, past=()):
        """Attends.

        Args:
          past: keys and values read before, as many parts as masks.past has;
            with `places.step` also those of what is said now.

        Returns:
          (output [B, L, D] or of what is wanted, (keys [B, G, K, L], values
          [B, G, L, K]) of these tokens, or of all that is said now).
        """
        c = self.config

        def project(name, heads, x):
            return nn.DenseGeneral(
                (heads, c.head_dim),
                use_bias=c.qkv_bias,
                dtype=self.dtype,
                name=name,
            )(x)

        q = project("query", c.heads, places.choose(x_BxLxD))
        k, v = (project(x, c.kv_heads, x_BxLxD) for x in ("key", "value"))
        if c.qk_norm:
            q = make_norm(c.norm, c.norm_eps, "query_norm")(q)
            k = make_norm(c.norm, c.norm_eps, "key_norm")(k)
            q, k = q.astype(self.dtype), k.astype(self.dtype)
        turns = places.local_turns if self.local else places.turns
        if turns is not None:
            q = rotary(q, tuple(map(places.choose, turns)))
            k = rotary(k, turns)
        new: tuple = k.transpose(0, 2, 3, 1), v.transpose(0, 2, 1, 3)
        if places.step is not None:
            *past, said = past
            new = tuple(
                jax.lax.dynamic_update_slice_in_dim(old, x, places.step, axis)
                for old, x, axis in zip(said, new, (3, 2), strict=True)
            )
        # Whoever has local blocks gives masks for them.
        masks: Any = places.local if self.local else places.masks
        parts = [
            (*seen, places.choose(mask))
            for seen, mask in zip(
                [*past, new], [*masks.past, masks.own], strict=True
            )
        ]
        out = attend(q, parts, c.scale)
        out = nn.DenseGeneral(
            c.width,
            axis=(-2, -1),
            use_bias=c.out_bias,
            dtype=self.dtype,
            name="out",
        )(out)
        return out, new


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
    def __call__(self, x_BxLxD, places: Places, past=()):
        """Returns (stream, keys and values); see `Attention`."""
        c = self.config

        def norm(name, x):
            return make_norm(c.norm, c.norm_eps, name)(x).astype(self.dtype)

        y, new = Attention(c, self.local, self.dtype, name="attention")(
            norm("attention_norm", x_BxLxD), places, past
        )
        if c.post_norms:
            y = norm("attention_post_norm", y)
        x_BxLxD = places.choose(x_BxLxD) + y
        y = norm("mlp_norm", x_BxLxD)
        y = FeedForward(c, self.dtype, name="mlp")(y)
        if c.post_norms:
            y = norm("mlp_post_norm", y)
        return x_BxLxD + y, new


class Stack(nn.Module):
    """`depth` blocks and, mostly, a final norm.

    With `remat` gradients keep what enters a block, and nothing within it.
    """

    config: TransformerConfig
    dtype: jnp.dtype
    remat: bool = False

    @nn.compact
    def __call__(self, x_BxLxD, places: Places, past=(), added=(), taps=()):
        """Runs all blocks.

        Args:
          x_BxLxD: the stream. places: of its tokens.
          past: keys and values read before, parts of a pair per block each.
          added: [B, L, D] each, joins the stream after block 0, 1, ...
          taps: numbers of the blocks whose output is wanted as well.

        Returns:
          (stream [B, L, D] or of what is wanted, new keys and values per
          block, outputs [B, L, D] of the taps).
        """
        c, news, tapped = self.config, [], {}
        places = self._find_turns(places)
        all_wanted = dataclasses.replace(places, wanted=None)
        make_block = self._make_block()
        for i in range(c.depth):
            local = bool(c.local) and c.local[i]
            block = make_block(c, local, self.dtype, name=f"block_{i}")
            here = places if i == c.depth - 1 else all_wanted
            x_BxLxD, new = block(x_BxLxD, here, [part[i] for part in past])
            if i < len(added):
                x_BxLxD = x_BxLxD + here.choose(added[i]).astype(self.dtype)
            if i in taps:
                tapped[i] = x_BxLxD
            news.append(new)
        if c.final_norm:
            norm = make_norm(c.norm, c.norm_eps, "norm")
            x_BxLxD = norm(x_BxLxD).astype(self.dtype)
        return x_BxLxD, tuple(news), tuple(tapped[i] for i in taps)

    def _find_turns(self, places: Places) -> Places:
        c = self.config

        def turns(rope):
            if rope is None:
                return None
            return turn_by(places.positions, rope, c.head_dim // 2)

        found = turns(c.rope)
        local = found if c.local_rope is None else turns(c.local_rope)
        return dataclasses.replace(places, turns=found, local_turns=local)

    def _make_block(self):
        """The class of a block, which makes its params whole by itself.

        What was made whole of pieces is made so again for gradients, lest all
        blocks be whole at once.
        """
        params = self.variables.get("params", {})
        if not any(map(is_piece, jax.tree.leaves(params, is_leaf=is_piece))):
            return nn.remat(Block) if self.remat else Block
        block = nn.map_variables(Block, "params", whole)
        if self.remat:
            return nn.remat(block)
        kept = jax.checkpoint_policies.save_anything_except_these_names(WHOLE)
        return nn.remat(block, policy=kept)
