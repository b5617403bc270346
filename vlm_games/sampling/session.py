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
PIECE = 32  # most tokens of a text that are read at once


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Session:
    """B conversations.

    Attributes:
      cache: all that was read and said so far.
      logits: float32 [B, V], of the token that would come next.
    """

    cache: caches.Cache
    logits: jax.Array


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
    )


def grow(session: Session, capacity: int) -> Session:
    """The same conversations with room for `capacity` tokens."""
    return Session(caches.grow(session.cache, capacity), session.logits)


def read(
    config: VLMConfig, params, session: Session, tokens_BxL, new_B
) -> Session:
    """Every row reads its next `new_B` tokens of text (0: none)."""
    found = vlm.read(
        config,
        params,
        session.cache,
        tokens_BxL,
        new_B,
        jnp.full(tokens_BxL.shape, -1, jnp.int32),
        jnp.zeros((1, config.image_token_width), config.compute_dtype),
        last_only=True,
    )
    logits = vlm.unembed(config, params, found.hidden[:, 0])
    logits = jnp.where(new_B[:, None] > 0, logits, session.logits)
    cache = caches.append(session.cache, found.new, found.positions, new_B)
    return Session(cache, logits)


def read_text(
    config: VLMConfig, params, session: Session, tokens_BxL, new_B
) -> Session:
    """As `read`; costs what the longest row needs, not L."""
    rows, length = tokens_BxL.shape
    pieces = -(-length // PIECE)
    if pieces == 1:
        return read(config, params, session, tokens_BxL, new_B)
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
) -> Session:
    """Starts new conversations in the rows `rows_R`; see `vlm.read`.

    A row out of range is dropped, so that R can stay fixed while the number
    of newcomers varies.
    """
    found = vlm.read(
        config,
        params,
        None,
        tokens_RxL,
        new_R,
        image_slots_RxL,
        image_tokens_MxD,
        positions_RxLxA,
        last_only=True,
    )
    logits = vlm.unembed(config, params, found.hidden[:, 0])
    return Session(
        caches.begin(session.cache, rows_R, found.new, found.positions, new_R),
        session.logits.at[rows_R].set(logits, mode="drop"),
    )


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
) -> tuple[Session, Words]:
    """Every active row says words until a stop token or `limit` tokens.

    Token t of a row is drawn from its own key folded with t, so that no row
    depends on its neighbours. All that is said enters the cache.

    Args:
      active_B: bool, rows that speak; others are left as they are.
      keys_B: one PRNG key per row.
      temperature: scalar; 0 takes the likeliest token.
      stop_V: bool, tokens that end a turn.
      forbidden_BxV: bool, tokens that a row never says (image and special
        tokens).
      limit: T.
    """
    rows, cache = active_B.shape[0], session.cache

    def going(state):
        step, *_, done_B = state
        return (step < limit) & ~jnp.all(done_B)

    def say(state):
        step, said, logits, words, done_B = state
        allowed = jnp.where(forbidden_BxV, FORBIDDEN, logits)
        token_B = draw(jax.vmap(jax.random.fold_in, (0, None))(keys_B, step))(
            allowed, temperature
        )
        log_prob = jax.nn.log_softmax(allowed)[jnp.arange(rows), token_B]
        speaks = ~done_B
        words = Words(
            words.tokens.at[:, step].set(jnp.where(speaks, token_B, 0)),
            words.count + speaks,
            words.stopped | (speaks & stop_V[token_B]),
            words.log_prob + jnp.where(speaks, log_prob, 0.0),
        )
        found = vlm.say(config, params, cache, said, step, token_B)
        following = vlm.unembed(config, params, found.hidden[:, 0])
        logits = jnp.where(speaks[:, None], following, logits)
        return step + 1, found.new, logits, words, done_B | stop_V[token_B]

    silence = Words(
        jnp.zeros((rows, limit), jnp.int32),
        jnp.zeros((rows,), jnp.int32),
        jnp.zeros((rows,), bool),
        jnp.zeros((rows,), jnp.float32),
    )
    said = caches.init_layers(config, rows, limit)
    state = (jnp.int32(0), said, session.logits, silence, ~active_B)
    _, said, logits, words, _ = jax.lax.while_loop(going, say, state)
    positions = cache.next_position[:, None] + jnp.arange(limit)
    cache = caches.append(cache, said, positions[..., None], words.count)
    return Session(cache, logits), words


def draw(keys_B):
    """Returns sample(logits [B, V], temperature) -> int32 [B]."""

    def sample(logits_BxV, temperature):
        scaled = logits_BxV / jnp.maximum(temperature, 1e-6)
        drawn = jax.vmap(jax.random.categorical)(keys_B, scaled)
        likeliest = jnp.argmax(logits_BxV, axis=-1)
        chosen = jnp.where(temperature > 0, drawn, likeliest)
        return chosen.astype(jnp.int32)

    return sample
