"""The decoder's key-value cache: explicit, fixed in size, a plain pytree.

    position   0   1   2   3   4   5   6   7        capacity S = 8
    row 0    [ a   b   c   d   .   .   .   . ]      length 4
    row 1    [ a   b   .   .   .   .   .   . ]      length 2

Each row is filled from the left without gaps. What lies at or beyond a row's
length is stale and is never attended to, so taking a row back to an earlier
length (`rollback`) is setting a number.
"""

import dataclasses

import jax
import jax.numpy as jnp

from vlm_games.models.config import VLMConfig


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Cache:
    """Keys and values of every decoder layer.

    Attributes:
      layers: per layer (k, v), each [B, S, kv_heads, head_dim].
      positions: int32 [B, S], the highest rotary position so far: an image
        may take fewer positions than it has tokens.
      length: int32 [B], tokens held per row.
    """

    layers: tuple[tuple[jax.Array, jax.Array], ...]
    positions: jax.Array
    length: jax.Array

    @property
    def capacity(self) -> int:
        """Tokens a row can hold, S."""
        return self.layers[0][0].shape[1]

    @property
    def next_position(self) -> jax.Array:
        """int32 [B], the rotary position of a row's next token of text."""
        last = jnp.maximum(self.length - 1, 0)[:, None]
        found = jnp.take_along_axis(self.positions, last, axis=1)[:, 0] + 1
        return jnp.where(self.length > 0, found, 0)

    def after(self, layers, positions_BxLxA, slots_BxL, new_B) -> "Cache":
        """The cache that holds `new_B` more tokens, already in `layers`."""
        rows = jnp.arange(self.positions.shape[0])[:, None]
        positions = self.positions.at[rows, slots_BxL].set(
            positions_BxLxA.max(axis=-1), mode="drop"
        )
        return Cache(layers, positions, self.length + new_B)


def init_cache(config: VLMConfig, batch: int, capacity: int) -> Cache:
    """Returns an empty cache in the computation dtype."""
    c = config.decoder
    shape = (batch, capacity, c.kv_heads, c.head_dim)
    layers = tuple(
        (
            jnp.zeros(shape, config.compute_dtype),
            jnp.zeros(shape, config.compute_dtype),
        )
        for _ in range(c.depth)
    )
    return Cache(
        layers,
        jnp.zeros((batch, capacity), jnp.int32),
        jnp.zeros((batch,), jnp.int32),
    )


def rollback(cache: Cache, length_B: jax.Array) -> Cache:
    """Forgets every token of row b at or after `length_B[b]`."""
    return dataclasses.replace(
        cache, length=jnp.minimum(cache.length, length_B)
    )
