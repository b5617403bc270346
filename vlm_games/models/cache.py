"""The decoder's key-value cache: explicit, fixed in size, a plain pytree.

    position   0   1   2   3   4   5   6   7        capacity S = 8
    row 0    [ a   b   c   d   .   .   .   . ]      length 4
    row 1    [ a   b   .   .   .   .   .   . ]      length 2

Each row is filled from the left without gaps. What lies at or beyond a row's
length is stale and is never attended to, so taking a row back to an earlier
length (`rollback`) is setting a number.

The model reads the cache and never writes it: new keys and values stand beside
it until `append` puts them in, once for many tokens. Their axes are ordered as
the matrix products of attention want them: keys [B, G, K, S], values
[B, G, S, K], for G heads of K features.
"""

import dataclasses

import jax
import jax.numpy as jnp

from vlm_games.models.config import VLMConfig

Layers = tuple[tuple[jax.Array, jax.Array], ...]  # per layer (keys, values)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Cache:
    """Keys and values of every decoder layer.

    Attributes:
      layers: per layer (keys [B, G, K, S], values [B, G, S, K]).
      positions: int32 [B, S], the highest rotary position so far: an image
        may take fewer positions than it has tokens.
      length: int32 [B], tokens held per row.
    """

    layers: Layers
    positions: jax.Array
    length: jax.Array

    @property
    def capacity(self) -> int:
        """Tokens a row can hold, S."""
        return self.positions.shape[1]

    @property
    def next_position(self) -> jax.Array:
        """int32 [B], the rotary position of a row's next token of text."""
        last = jnp.maximum(self.length - 1, 0)[:, None]
        found = jnp.take_along_axis(self.positions, last, axis=1)[:, 0] + 1
        return jnp.where(self.length > 0, found, 0)


def init_layers(config: VLMConfig, batch: int, tokens: int) -> Layers:
    """Returns empty keys and values in the computation dtype."""
    c, dtype = config.decoder, config.compute_dtype
    shape = (batch, c.kv_heads)
    return tuple(
        (
            jnp.zeros((*shape, c.head_dim, tokens), dtype),
            jnp.zeros((*shape, tokens, c.head_dim), dtype),
        )
        for _ in range(c.depth)
    )


def init_cache(config: VLMConfig, batch: int, capacity: int) -> Cache:
    """Returns an empty cache."""
    return Cache(
        init_layers(config, batch, capacity),
        jnp.zeros((batch, capacity), jnp.int32),
        jnp.zeros((batch,), jnp.int32),
    )


def append(cache: Cache, new: Layers, positions_BxLxA, new_B) -> Cache:
    """The cache that holds the first `new_B` of L new tokens per row, too.

    A row that would outgrow its capacity loses the tokens beyond it: callers
    size the cache.

    Args:
      new: keys [B, G, K, L] and values [B, G, L, K] of each layer.
      positions_BxLxA: int32, rotary positions.
    """
    rows = jnp.arange(len(cache.length))
    return _write(cache, rows, cache.length, new, positions_BxLxA, new_B)


def begin(cache: Cache, rows_R, new: Layers, positions_RxLxA, new_R) -> Cache:
    """As `append`, to the rows `rows_R` after forgetting what they held.

    A row out of range is dropped.
    """
    start = jnp.zeros_like(new_R)
    return _write(cache, rows_R, start, new, positions_RxLxA, new_R)


def _write(cache, rows_R, start_R, new, positions_RxLxA, new_R) -> Cache:
    offsets = jnp.arange(positions_RxLxA.shape[1])[None]
    # Padding is written past the end, where it is dropped.
    slots = jnp.where(
        offsets < new_R[:, None],
        start_R[:, None] + offsets,
        cache.capacity + offsets,
    )
    rows = rows_R[:, None]

    def put(old, at, fresh):
        return at.set(fresh.astype(old.dtype), mode="drop", unique_indices=True)

    layers = tuple(
        (
            put(k, k.at[rows, :, :, slots], new_k.transpose(0, 3, 1, 2)),
            put(v, v.at[rows, :, slots], new_v.transpose(0, 2, 1, 3)),
        )
        for (k, v), (new_k, new_v) in zip(cache.layers, new, strict=True)
    )
    highest = positions_RxLxA.max(axis=-1)
    return Cache(
        layers,
        put(cache.positions, cache.positions.at[rows, slots], highest),
        cache.length.at[rows_R].set(start_R + new_R, mode="drop"),
    )


def grow(cache: Cache, capacity: int) -> Cache:
    """The same rows with room for `capacity` tokens."""
    more = capacity - cache.capacity
    layers = tuple(
        (
            jnp.pad(k, ((0, 0), (0, 0), (0, 0), (0, more))),
            jnp.pad(v, ((0, 0), (0, 0), (0, more), (0, 0))),
        )
        for k, v in cache.layers
    )
    positions = jnp.pad(cache.positions, ((0, 0), (0, more)))
    return Cache(layers, positions, cache.length)


def rollback(cache: Cache, length_B: jax.Array) -> Cache:
    """Forgets every token of row b at or after `length_B[b]`."""
    return dataclasses.replace(
        cache, length=jnp.minimum(cache.length, length_B)
    )
