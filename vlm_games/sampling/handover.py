"""What one role said becomes what the other reads, on the device.

    said     it is red . ask is there a ring ? <eos>
    mark                 ask
    read               question : is there a ring ? answer :
                       before     said                after

So the host need not read the words of one role before the other speaks.
"""

import dataclasses

import jax
import jax.numpy as jnp

from vlm_games.sampling.session import Words


@dataclasses.dataclass(frozen=True)
class HandOver:
    """How words are handed over; all are token ids.

    Attributes:
      marks: behind the first of these the wanted words begin; an empty one
        stands before all words.
      before, after: what the reader reads around them.
      cut: whether words without an end are handed over, too.
    """

    marks: tuple[tuple[int, ...], ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    cut: bool = False


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Handed:
    """What B rows read of what others said.

    Attributes:
      first, count: int32 [B], where the words stood among those said, a stop
        token left out.
      active: bool [B], rows with words.
      ids: (int32 [B, W], int32 [B] lengths), what is read; of the others
        nothing.
    """

    first: jax.Array
    count: jax.Array
    active: jax.Array
    ids: tuple[jax.Array, jax.Array]


def hand_over(words: Words, active_B, how: HandOver) -> Handed:
    """Takes the words behind a mark and frames them.

    Args:
      active_B: bool, rows whose words are wanted.
    """
    first, count = _after_mark(words, how.marks)
    active = active_B & (words.stopped | how.cut) & (count > 0)
    ids, length = _frame(words, first, count, how)
    return Handed(first, count, active, (ids, jnp.where(active, length, 0)))


def _after_mark(words: Words, marks):
    """(first, count) of the words behind the first mark; count 0 if none."""
    rows, limit = words.tokens.shape
    places = jnp.arange(limit)
    first = jnp.full((rows,), limit, jnp.int32)
    for mark in marks:
        hits = jnp.broadcast_to(places + len(mark) <= limit, (rows, limit))
        for offset, token in enumerate(mark):
            hits &= jnp.roll(words.tokens, -offset, axis=1) == token
        behind = jnp.argmax(hits, axis=1).astype(jnp.int32) + len(mark)
        first = jnp.where(hits.any(axis=1), jnp.minimum(first, behind), first)
    end = words.count - words.stopped
    return first, jnp.maximum(end - first, 0)


def _frame(words: Words, first_B, count_B, how: HandOver):
    """(ids [B, W], lengths [B]) of the words between before and after."""
    limit = words.tokens.shape[1]
    before, after = (
        jnp.array(x or (0,), jnp.int32) for x in (how.before, how.after)
    )
    width = len(how.before) + limit + len(how.after)
    places = jnp.arange(width)[None]
    said = places - len(how.before)
    rest = said - count_B[:, None]
    tokens = jnp.take_along_axis(
        words.tokens, jnp.clip(said + first_B[:, None], 0, limit - 1), axis=1
    )
    ids = jnp.where(
        said < 0,
        before[jnp.minimum(places, len(before) - 1)],
        jnp.where(rest < 0, tokens, after[jnp.clip(rest, 0, len(after) - 1)]),
    )
    return ids, count_B + len(how.before) + len(how.after)
