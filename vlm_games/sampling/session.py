"""Conversations under way: a cache per row and the next token's logits.

All functions are pure and work on the rows of one device; `engine` runs them
on every device of a mesh at once, with nothing exchanged.
"""

import dataclasses

import jax
import jax.numpy as jnp

from vlm_games.models import cache as caches
from vlm_games.models import vlm
from vlm_games.models.config import VLMConfig

# Added to the logits of tokens that must never be sampled.
FORBIDDEN = -1e9
PIECE = 48  # most tokens of a text read at once


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Session:
    """B conversations.

    Attributes:
      cache: all that was read and said so far, but for `pending`.
      logits: float32 [B, V], of the token that would come next; not those of
        rows with a pending token.
      pending: int32 [B], the token said last, which the row reads before all
        else; -1 if none. Most words end with a token that nothing follows, and
        many rows are taken back behind it before they read on.
    """

    cache: caches.Cache
    logits: jax.Array
    pending: jax.Array

    @property
    def length(self) -> jax.Array:
        """int32 [B], tokens read and said."""
        return self.cache.length + (self.pending >= 0)


@dataclasses.dataclass(frozen=True)
class Truncation:
    """What is drawn from, at temperatures above 0.

    Attributes:
      top_k: the likeliest so many tokens; 0 for all.
      top_p: of these the fewest likeliest that hold this share of the
        probability (arXiv 1904.09751); 1 for all.
    """

    top_k: int = 0
    top_p: float = 1.0


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Words:
    """What the rows said. T is the most that one turn may say.

    Attributes:
      tokens: int32 [B, T], padded with 0; ends with the stop token.
      count: int32 [B], tokens said, the stop token counted.
      stopped: bool [B], whether the stop token came within T.
      log_prob: float32 [B], of the tokens said, summed (nats), at
        temperature 1 among the tokens that may be sampled.
    """

    tokens: jax.Array
    count: jax.Array
    stopped: jax.Array
    log_prob: jax.Array


def init_session(config: VLMConfig, rows: int, capacity: int) -> Session:
    """Empty conversations of at most `capacity` tokens."""
    return Session(
        caches.init_cache(config, rows, capacity),
        jnp.zeros((rows, config.vocab_size), jnp.float32),
        jnp.full((rows,), -1, jnp.int32),
    )


def grow(session: Session, capacity: int) -> Session:
    """The same conversations with room for `capacity` tokens."""
    cache = caches.grow(session.cache, capacity)
    return dataclasses.replace(session, cache=cache)


def rollback(session: Session, length_B) -> Session:
    """Forgets every token of row b at or after `length_B[b]`."""
    kept = length_B > session.cache.length
    return dataclasses.replace(
        session,
        cache=caches.rollback(session.cache, length_B),
        pending=jnp.where(kept, session.pending, -1),
    )


def read(
    config: VLMConfig, params, session: Session, tokens_BxL, new_B
) -> Session:
    """Every row reads its next `new_B` tokens of text (0: none)."""
    hidden, cache = vlm.extend(
        config,
        params,
        session.cache,
        tokens_BxL,
        new_B,
        jnp.full(tokens_BxL.shape, -1, jnp.int32),
        vlm.no_image_tokens(config),
        last_only=True,
    )
    logits = vlm.unembed(config, params, hidden[:, 0])
    logits = jnp.where(new_B[:, None] > 0, logits, session.logits)
    return dataclasses.replace(session, cache=cache, logits=logits)


def read_text(
    config: VLMConfig, params, session: Session, tokens_BxL, new_B
) -> Session:
    """As `read`, after what is pending; costs what the longest row needs."""
    waits = session.pending >= 0
    later = jnp.concatenate([session.pending[:, None], tokens_BxL], axis=1)
    at_once = jnp.pad(tokens_BxL, ((0, 0), (0, 1)))
    tokens_BxL = jnp.where(waits[:, None], later, at_once)
    new_B = new_B + waits
    session = dataclasses.replace(
        session, pending=jnp.full_like(session.pending, -1)
    )
    rows, length = tokens_BxL.shape
    pieces = -(-length // PIECE)
    size = -(-length // pieces)
    tokens = jnp.pad(tokens_BxL, ((0, 0), (0, pieces * size - length)))

    def unread(state):
        start, _ = state
        return start < jnp.max(new_B)

    def read_piece(state):
        start, session = state
        piece = jax.lax.dynamic_slice(tokens, (0, start), (rows, size))
        new = jnp.clip(new_B - start, 0, size)
        return start + size, read(config, params, session, piece, new)

    state = (jnp.int32(0), session)
    return jax.lax.while_loop(unread, read_piece, state)[1]


def admit(
    config: VLMConfig,
    params,
    session: Session,
    rows_R,
    tokens_RxL,
    new_R,
    image_slots_RxL,
    image_tokens_MxD,
    positions_RxLxA=None,
    pairs: int = 0,
) -> Session:
    """Starts new conversations in the rows `rows_R`; see `vlm.read`.

    A row out of range is dropped, so that R can stay fixed while the number
    of newcomers varies.

    Args:
      pairs: rows are read at a time that have at most so many pairs of tokens,
        or one by one; 0 for all at once.
    """

    def read_rows(rows):
        tokens, new, image_slots, positions = rows
        found = vlm.read(
            config,
            params,
            None,
            tokens,
            new,
            image_slots,
            image_tokens_MxD,
            positions,
            last_only=True,
        )
        logits = vlm.unembed(config, params, found.hidden[:, 0])
        return logits, found.new, found.positions

    rows = tokens_RxL, new_R, image_slots_RxL, positions_RxLxA
    logits, new, positions = map_rows(read_rows, rows, pairs)
    return Session(
        caches.begin(session.cache, rows_R, new, positions, new_R),
        session.logits.at[rows_R].set(logits, mode="drop"),
        session.pending.at[rows_R].set(-1, mode="drop"),
    )


def map_rows(function, rows, pairs: int):
    """`function` of arrays of rows, of equal parts of them one by one.

    Args:
      rows: arrays [R, ...], the first [R, L]; what is None stays None.
      pairs: L * L times the rows of a part, at most; 0 for no parts.
    """
    count, length = rows[0].shape
    most = max(pairs // length**2, 1) if pairs else count
    size = max(n for n in range(1, count + 1) if n <= most and not count % n)
    if size == count:
        return function(rows)

    def split(x):
        return x.reshape(count // size, size, *x.shape[1:])

    def join(x):
        return x.reshape(count, *x.shape[2:])

    return jax.tree.map(join, jax.lax.map(function, jax.tree.map(split, rows)))


def speak(
    config: VLMConfig,
    params,
    session: Session,
    active_B,
    keys_B,
    temperature,
    stop_V,
    forbidden_BxV,
    limit: int,
    truncation: Truncation = Truncation(),
) -> tuple[Session, Words]:
    """Every active row says words until a stop token or `limit` tokens.

    Token t of a row is drawn from its own key folded with t, so that no row
    depends on its neighbours. All that is said enters the cache, the last token
    as what is pending.

    Nothing may be pending when it begins; see `read_text`.

    Args:
      active_B: bool, rows that speak; others are left as they are.
      keys_B: one PRNG key per row.
      temperature: scalar; 0 takes the likeliest token.
      stop_V: bool, tokens that end a turn.
      forbidden_BxV: bool, tokens that a row never says (image and special
        tokens).
      limit: T.
      truncation: of what is drawn from; `Words.log_prob` takes no note of it.
    """
    rows, cache = active_B.shape[0], session.cache

    def choose(step, logits, words, done_B):
        logits = jnp.where(forbidden_BxV, FORBIDDEN, logits)
        keys = jax.vmap(jax.random.fold_in, (0, None))(keys_B, step)
        token_B = draw(keys, logits, temperature, truncation)
        log_prob = jax.nn.log_softmax(logits)[jnp.arange(rows), token_B]
        speaks = ~done_B
        words = Words(
            words.tokens.at[:, step].set(jnp.where(speaks, token_B, 0)),
            words.count + speaks,
            words.stopped | (speaks & stop_V[token_B]),
            words.log_prob + jnp.where(speaks, log_prob, 0.0),
        )
        return step + 1, token_B, words, done_B | stop_V[token_B]

    def going(state):
        (step, *_, done_B), _ = state
        return (step < limit) & ~jnp.all(done_B)

    def go_on(state):
        (step, token_B, words, done_B), said = state
        found = vlm.say(config, params, cache, said, step - 1, token_B)
        logits = vlm.unembed(config, params, found.hidden[:, 0])
        return choose(step, logits, words, done_B), found.new

    silence = Words(
        jnp.zeros((rows, limit), jnp.int32),
        jnp.zeros((rows,), jnp.int32),
        jnp.zeros((rows,), bool),
        jnp.zeros((rows,), jnp.float32),
    )
    first = choose(jnp.int32(0), session.logits, silence, ~active_B)
    said = caches.init_layers(config, rows, limit)
    (_, _, words, _), said = jax.lax.while_loop(going, go_on, (first, said))
    positions = cache.next_position[:, None] + jnp.arange(limit)
    before = jnp.maximum(words.count - 1, 0)
    last = jnp.take_along_axis(words.tokens, before[:, None], axis=1)[:, 0]
    session = Session(
        caches.append(cache, said, positions[..., None], before),
        session.logits,
        jnp.where(words.count > 0, last, session.pending),
    )
    return session, words


def draw(keys_B, logits_BxV, temperature, truncation=Truncation()):
    """One token per row, int32 [B]; the likeliest at temperature 0."""
    # The first of the highest. XLA does not vectorise argmax on CPUs.
    last = logits_BxV.shape[-1] - 1
    highest = logits_BxV == logits_BxV.max(axis=-1, keepdims=True)
    tokens = jnp.arange(last + 1, dtype=jnp.int32)
    likeliest = jnp.where(highest, tokens, last).min(axis=-1)

    def drawn():
        logits = logits_BxV / jnp.maximum(temperature, 1e-6)
        scaled = truncate(logits, truncation)
        found = jax.vmap(jax.random.categorical)(keys_B, scaled)
        return found.astype(jnp.int32)

    # Greedy words do not pay for V random numbers a row and step.
    return jax.lax.cond(temperature > 0, drawn, lambda: likeliest)


def truncate(logits_BxV, truncation: Truncation):
    """Logits without what is left out; equals of the last one kept stay."""
    top_k, top_p = truncation.top_k, truncation.top_p
    if not top_k and top_p >= 1:
        return logits_BxV
    descending = -jnp.sort(-logits_BxV, axis=-1)
    kept = jnp.ones(descending.shape, bool)
    if top_k:
        kept &= jnp.arange(descending.shape[-1]) < top_k
    share = jax.nn.softmax(jnp.where(kept, descending, FORBIDDEN), axis=-1)
    # A token stays if those before it do not hold top_p by themselves.
    kept &= jnp.cumsum(share, axis=-1) - share < top_p
    last = jnp.sum(kept, axis=-1, keepdims=True) - 1
    least = jnp.take_along_axis(descending, last, axis=-1)
    return jnp.where(logits_BxV < least, FORBIDDEN, logits_BxV)
