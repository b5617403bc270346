"""Sessions and the engine: what is said, and what it may depend on."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlm_games.data.packing import Batch
from vlm_games.models import vlm
from vlm_games.models.mesh import make_mesh, place
from vlm_games.models.packed import token_log_probs
from vlm_games.sampling import session as sessions
from vlm_games.sampling.engine import Engine, Sampling, bucket, pad

pytestmark = pytest.mark.usefixtures("quick_compiles")

ROWS, CAPACITY, LIMIT, STOP = 8, 40, 6, 2
KEEP_ALL = np.full(ROWS, 10_000)
FIRST = ([5, 6], [7], [8, 9, 10], [11, 5], [12], [13, 6, 7], [14, 8], [15])
SECOND = ([9, 8], [6, 6, 6], [11], [12, 7], [], [5], [10, 13], [14])
ENCODE = jax.jit(vlm.encode_images, static_argnums=0)
READ = jax.jit(sessions.read, static_argnums=0)
SPEAK = jax.jit(sessions.speak, static_argnums=(0, 8))


@pytest.fixture(scope="module")
def talker(variant):
    """(config, params) whose greedy words vary: the head is not tied."""
    return variant(tie_embeddings=False, kv_heads=2)


@pytest.fixture(scope="module")
def engines(talker):
    """Engines on 8 devices, on 1, and on 8 of which two share a model."""
    config, params = talker
    meshes = {n: make_mesh(jax.devices()[:n]) for n in (8, 1)}
    meshes["4 x 2"] = make_mesh(tensor=2)
    return {
        n: (Engine(config, mesh), place(mesh, params))
        for n, mesh in meshes.items()
    }


def tokens_where(config, *ids):
    """bool [V], true at `ids`."""
    mask = np.zeros(config.vocab_size, bool)
    mask[list(ids)] = True
    return mask


def opened(engine, params, pixels, order=range(ROWS)):
    """A session whose row b has read image `order[b] % 6` and FIRST[...]."""
    t = engine.config.tokens_per_image
    ids = [[engine.config.image_token_id] * t + FIRST[k] for k in order]
    tokens, lengths = pad(ids)
    slots = np.full(tokens.shape, -1, np.int32)
    for b, k in enumerate(order):
        slots[b, :t] = (k % 6) * t + np.arange(t)
    return engine.admit(
        params,
        engine.init(ROWS, CAPACITY),
        np.arange(ROWS, dtype=np.int32) % (ROWS // engine.shards),
        (tokens, lengths),
        slots,
        engine.encode(params, pixels),
    )


def say(engine, params, session, said=None, **changes):
    """A turn of LIMIT tokens after hearing `said`; greedy by default."""
    config = engine.config
    arguments = {
        "keep": KEEP_ALL,
        "ids": pad(said or [[]] * ROWS),
        "row_ids": np.arange(ROWS),
        "turn_ids": np.zeros(ROWS),
        "active": np.ones(ROWS, bool),
        "temperature": 0.0,
        "stop": tokens_where(config, STOP),
        "sampling": Sampling(tokens_where(config, config.image_token_id), (7,)),
        "limit": LIMIT,
    }
    session, words = engine.turn(params, session, **{**arguments, **changes})
    return session, jax.device_get(words)


def greedy_by_forward(config, params, pixels):
    """The words of two turns, each token by reading everything again."""
    images = ENCODE(config, params, pixels)
    images = images.reshape(-1, images.shape[-1])
    t, length = config.tokens_per_image, 24
    positions = np.arange(length)[None]
    causal = np.tri(length, dtype=bool)[None]

    @jax.jit
    def next_token(tokens, slots, count):
        hidden = vlm.forward(
            config, params, tokens, slots, images, positions, causal
        )
        logits = vlm.unembed(config, params, hidden[0, count - 1])
        return jnp.argmax(logits.at[config.image_token_id].set(-jnp.inf))

    def turn(ids, slots):
        words = []
        while len(words) < LIMIT and STOP not in words:
            tokens = np.zeros((1, length), np.int32)
            tokens[0, : len(ids) + len(words)] = ids + words
            words.append(int(next_token(tokens, slots, len(ids + words))))
        return words

    first, second = [], []
    for k in range(ROWS):
        ids = [config.image_token_id] * t + FIRST[k]
        slots = np.full((1, length), -1)
        slots[0, :t] = (k % 6) * t + np.arange(t)
        first.append(turn(ids, slots))
        ids = ids + first[-1] + SECOND[k]
        second.append(turn(ids, slots))
    return first, second


def as_lists(words):
    return [
        row[:n].tolist()
        for row, n in zip(words.tokens, words.count, strict=True)
    ]


# Words ------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("devices", [8, 1, "4 x 2"])
def test_greedy_words_equal_reading_everything_again(
    engines, talker, pixels, devices
):
    engine, params = engines[devices]
    first, second = greedy_by_forward(*talker, pixels)
    # The claim would be weak were every word the same, or no turn stopped.
    assert len({token for row in first + second for token in row}) > 5
    session, words = say(engine, params, opened(engine, params, pixels))
    assert as_lists(words) == first
    _, words = say(engine, params, session, SECOND)
    assert as_lists(words) == second


def test_a_turn_that_goes_back_equals_never_having_spoken(engines, pixels):
    engine, params = engines[8]
    session = opened(engine, params, pixels)
    read = np.array(session.cache.length)
    session, _ = say(engine, params, session, temperature=1.0)
    _, again = say(engine, params, session, [[9]] * ROWS, keep=read)
    session = opened(engine, params, pixels)
    _, fresh = say(engine, params, session, [[9]] * ROWS)
    assert as_lists(again) == as_lists(fresh)


def test_log_prob_of_words_equals_teacher_forcing(engines, talker, pixels):
    config, raw = talker
    engine, params = engines[8]
    session = opened(engine, params, pixels)
    _, words = say(engine, params, session, temperature=1.5)
    t, length = config.tokens_per_image, 16
    tokens = np.zeros((ROWS, length), np.int32)
    slots = np.full((ROWS, length), -1, np.int32)
    spoken = np.zeros((ROWS, length), bool)
    for k, said in enumerate(as_lists(words)):
        ids = [config.image_token_id] * t + FIRST[k] + said
        tokens[k, : len(ids)] = ids
        slots[k, :t] = (k % 6) * t + np.arange(t)
        spoken[k, len(ids) - len(said) : len(ids)] = True
    one = np.ones_like(tokens)
    batch = Batch(
        tokens=tokens,
        positions=np.arange(length) * one,
        segments=one,
        branches=0 * one,
        weights=spoken.astype(np.float32),
        reference=np.zeros(tokens.shape, np.float32),
        image_slots=slots,
        images=np.arange(6),
    )
    images = ENCODE(config, raw, pixels).reshape(24, -1)
    score = jax.jit(token_log_probs, static_argnums=0)
    log_probs, _ = score(config, raw, batch, images)
    expected = np.where(spoken[:, 1:], log_probs, 0.0).sum(axis=1)
    np.testing.assert_allclose(words.log_prob, expected, rtol=1e-4)


def words_from_logits(config, params, logits, forbidden, **changes):
    """Speaks from an empty cache whose next-token logits are `logits`."""
    session = sessions.init_session(config, 4, 16)
    session = dataclasses.replace(session, logits=jnp.tile(logits, (4, 1)))
    arguments = {
        "active": jnp.ones(4, bool),
        "keys": jax.random.split(jax.random.key(3), 4),
        "temperature": jnp.float32(0.0),
        "stop": tokens_where(config, STOP),
        **changes,
    }
    return SPEAK(config, params, session, *arguments.values(), forbidden, LIMIT)


@pytest.mark.parametrize("temperature", [0.0, 1.0, 20.0])
def test_forbidden_tokens_are_never_said(talker, temperature):
    config, params = talker
    image = config.image_token_id
    logits = jnp.zeros(config.vocab_size).at[jnp.array([image, 0])].set(1e3)
    say = functools.partial(
        words_from_logits,
        config,
        params,
        logits,
        temperature=jnp.float32(temperature),
    )
    _, free = say(tokens_where(config))
    assert set(np.asarray(free.tokens[:, 0])) <= {image, 0}
    allowed = {6, 9, STOP}
    banned = set(range(config.vocab_size)) - allowed
    _, words = say(tokens_where(config, *banned))
    said = {token for row in as_lists(words) for token in row}
    assert said <= allowed
    assert np.isfinite(words.log_prob).all()


def test_words_end_with_the_stop_token_and_are_padded_with_zeros(talker):
    config, params = talker
    _, words = words_from_logits(
        config,
        params,
        jnp.zeros(config.vocab_size).at[STOP].set(1e3),
        tokens_where(config),
    )
    assert words.tokens.tolist() == [[STOP] + [0] * (LIMIT - 1)] * 4
    assert words.count.tolist() == [1] * 4
    assert words.stopped.all()


def test_words_that_reach_the_limit_are_not_stopped(talker):
    config, params = talker
    session, words = words_from_logits(
        config,
        params,
        jnp.zeros(config.vocab_size),
        tokens_where(config, STOP),
    )
    assert words.count.tolist() == [LIMIT] * 4
    assert not words.stopped.any()
    assert session.length.tolist() == [LIMIT] * 4


def test_silent_rows_are_left_as_they_are(talker):
    config, params = talker
    logits = jnp.arange(config.vocab_size, dtype=jnp.float32)
    session, words = words_from_logits(
        config,
        params,
        logits,
        tokens_where(config, STOP),
        active=jnp.array([True, False, True, False]),
    )
    assert words.count.tolist() == [LIMIT, 0, LIMIT, 0]
    assert session.length.tolist() == [LIMIT, 0, LIMIT, 0]
    np.testing.assert_array_equal(session.logits[1], logits)
    assert words.log_prob[1] == 0


@pytest.mark.parametrize("devices", [1, "4 x 2"])
def test_rows_that_grow_say_the_same(engines, pixels, devices):
    engine, params = engines[devices]
    small = opened(engine, params, pixels)
    large, most = opened(engine, params, pixels), CAPACITY + 24
    large = engine.grow(large, CAPACITY + 1, most)
    assert large.cache.capacity == most
    assert engine.grow(large, CAPACITY, most) is large
    for said in (None, SECOND):
        small, words = say(engine, params, small, said)
        large, others = say(engine, params, large, said)
        assert as_lists(words) == as_lists(others)


def test_draws_follow_the_softmax_at_the_temperature():
    logits, n = jnp.log(jnp.array([0.5, 0.3, 0.2])), 4000
    keys = jax.random.split(jax.random.key(0), n)
    for temperature in (1.0, 2.0):
        drawn = sessions.draw(keys, jnp.tile(logits, (n, 1)), temperature)
        found = np.bincount(drawn, minlength=3) / n
        expected = jax.nn.softmax(logits / temperature)
        np.testing.assert_allclose(found, expected, atol=0.03)


# What a draw depends on -------------------------------------------------------


@pytest.fixture(scope="module")
def drawn(engines, pixels):
    """Words at temperature 1 of rows 0..7, as turn 3 of seed (7,)."""
    engine, params = engines[8]
    session = opened(engine, params, pixels)
    _, words = say(
        engine, params, session, turn_ids=np.full(ROWS, 3), temperature=1.0
    )
    return as_lists(words)


@pytest.mark.parametrize(
    ("top_k", "top_p", "kept"),
    [
        (0, 1.0, {0, 1, 2, 3}),
        (2, 1.0, {0, 3}),
        (9, 1.0, {0, 1, 2, 3}),
        (0, 0.75, {0, 3}),  # 0.5 and 0.3
        (0, 0.81, {0, 1, 3}),
        (0, 1e-6, {3}),
        (3, 0.85, {0, 1, 3}),  # of 0.95: 0.53, 0.32 and 0.16
        (2, 0.6, {3}),  # of 0.8: 0.63 and 0.38
    ],
)
def test_draws_are_from_what_truncation_keeps(top_k, top_p, kept):
    logits, n = jnp.log(jnp.array([0.3, 0.15, 0.05, 0.5])), 2000
    truncation = sessions.Truncation(top_k, top_p)
    keys = jax.random.split(jax.random.key(1), n)
    drawn = sessions.draw(
        keys, jnp.tile(logits, (n, 1)), jnp.float32(1.0), truncation
    )
    assert set(np.array(drawn).tolist()) == kept


@pytest.mark.parametrize("devices", [8, 1])
def test_a_draw_is_the_same_wherever_its_row_stands(
    engines, pixels, drawn, devices
):
    engine, params = engines[devices]
    order = [3, 7, 0, 5, 1, 6, 2, 4]
    # Other neighbours, too: those of odd rows are silent.
    active = np.array([k % 2 == 0 for k in order])
    _, words = say(
        engine,
        params,
        opened(engine, params, pixels, order),
        row_ids=np.array(order),
        turn_ids=np.full(ROWS, 3),
        temperature=1.0,
        active=active,
    )
    expected = [drawn[k] if k % 2 == 0 else [] for k in order]
    assert as_lists(words) == expected


@pytest.mark.parametrize("change", ["seed", "row", "turn"])
def test_another_seed_row_or_turn_is_another_draw(
    engines, pixels, drawn, change
):
    engine, params = engines[8]
    forbidden = tokens_where(engine.config, engine.config.image_token_id)
    other = {
        "seed": {"sampling": Sampling(forbidden, (8,))},
        "row": {"row_ids": np.arange(ROWS) + ROWS},
        "turn": {"turn_ids": np.full(ROWS, 4)},
    }[change]
    arguments = {"turn_ids": np.full(ROWS, 3), "temperature": 1.0, **other}
    session = opened(engine, params, pixels)
    _, words = say(engine, params, session, **arguments)
    same = [a == b for a, b in zip(as_lists(words), drawn, strict=True)]
    assert sum(same) <= 1


def test_a_text_of_several_pieces_reads_as_in_one(talker):
    config, params = talker
    length = sessions.PIECE + 7
    tokens = jnp.arange(2 * length).reshape(2, length) % 9 + 5
    new = jnp.array([length, sessions.PIECE // 2 - 1])
    empty = sessions.init_session(config, 2, length)
    whole = READ(config, params, empty, tokens, new)
    pieces = jax.jit(sessions.read_text, static_argnums=0)(
        config, params, empty, tokens, new
    )
    np.testing.assert_array_equal(pieces.length, new)
    # Of words that end early the first piece has the logits.
    np.testing.assert_allclose(pieces.logits, whole.logits, atol=1e-4)


# The engine -------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("devices", [8, 1])
def test_nothing_compiles_after_the_first_turn_of_a_bucket(
    talker, pixels, devices
):
    config, params = talker
    mesh = make_mesh(jax.devices()[:devices])
    engine, params = Engine(config, mesh), place(mesh, params)
    session, _ = say(engine, params, opened(engine, params, pixels))
    warm = engine.compilations()
    session, _ = say(engine, params, session, SECOND, temperature=0.7)
    forbidden = tokens_where(config, 3, 4)
    session, _ = say(
        engine,
        params,
        session,
        [[5] * 8] * ROWS,
        sampling=Sampling(forbidden, (9,)),
        keep=np.full(ROWS, 7),
        active=np.arange(ROWS) < 3,
    )
    opened(engine, params, pixels, order=[1] * ROWS)
    # Sessions, images, openings and turns: one program each.
    assert engine.compilations() == warm == 4
    say(engine, params, session, [[5] * 9] * ROWS)
    assert engine.compilations() == warm + 1


def test_admit_replaces_only_the_rows_named(engines, talker):
    config, raw = talker
    engine, params = engines[8]
    # Two rows a device: row 2 * d + r of the session is row r of device d.
    session = engine.init(16, CAPACITY)
    images = jnp.zeros((4, config.decoder.width))

    def admit(session, rows, ids):
        tokens, lengths = pad(ids)
        return engine.admit(
            params,
            session,
            np.array(rows, np.int32),
            (tokens, lengths),
            np.full(tokens.shape, -1, np.int32),
            images,
        )

    both = np.tile([0, 1], 8)
    session = admit(session, both, [[5 + b % 3, 6] for b in range(16)])
    before = jax.device_get(session)
    nobody = 2
    rows = np.full(8, nobody)
    rows[3], rows[6] = 1, 0  # rows 7 and 12 of the session
    newcomers = [[9, 10, 11 + d] for d in range(8)]
    after = jax.device_get(admit(session, rows, newcomers))
    kept = np.array([b not in (7, 12) for b in range(16)])
    jax.tree.map(
        lambda x, y: np.testing.assert_array_equal(x[kept], y[kept]),
        before,
        after,
    )
    assert after.cache.length[[7, 12]].tolist() == [3, 3]
    fresh = READ(
        config,
        raw,
        sessions.init_session(config, 8, CAPACITY),
        np.array(newcomers),
        np.full(8, 3),
    )
    np.testing.assert_allclose(
        after.logits[[7, 12]], fresh.logits[np.array([3, 6])], atol=1e-5
    )


@pytest.mark.parametrize("pairs", [1, 150])
def test_openings_are_read_the_same_few_rows_at_a_time(talker, pairs):
    config, params = talker
    tokens, lengths = pad([[5 + b, 6, 7][: 1 + b % 3] for b in range(6)], 4)

    def admit(pairs):
        return sessions.admit(
            config,
            params,
            sessions.init_session(config, 6, CAPACITY),
            jnp.arange(6),
            tokens,
            lengths,
            np.full(tokens.shape, -1),
            vlm.no_image_tokens(config),
            pairs=pairs,
        )

    found, whole = (jax.jit(lambda n=n: admit(n))() for n in (pairs, 0))
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, 1e-4, 1e-5), found, whole
    )


@pytest.mark.parametrize(
    "count, pairs, size", [(6, 0, 6), (6, 1, 1), (6, 47, 2), (6, 90, 3)]
)
def test_rows_are_mapped_in_equal_parts(count, pairs, size):
    rows = jnp.arange(4.0 * count).reshape(count, 4), None
    seen = []

    def double(rows):
        seen.append(len(rows[0]))
        return 2 * rows[0]

    found = sessions.map_rows(double, rows, pairs)
    np.testing.assert_array_equal(found, 2 * rows[0])
    assert set(seen) == {size}


def test_of_equally_likely_tokens_the_first_is_taken():
    logits = jnp.array([[0.0, 3.0, 1.0, 3.0], [2.0, 2.0, 2.0, 2.0]])
    keys = jax.random.split(jax.random.key(0), 2)
    assert sessions.draw(keys, logits, 0.0).tolist() == [1, 0]


@pytest.mark.parametrize("count", [1, 6])
def test_engine_encodes_any_number_of_images(engines, talker, pixels, count):
    config, raw = talker
    expected = ENCODE(config, raw, pixels[:count])
    for engine, params in engines.values():
        found = engine.encode(params, pixels[:count], chunk=4)
        np.testing.assert_allclose(
            found, expected.reshape(count * 4, -1), rtol=1e-4, atol=1e-5
        )


def test_rows_that_do_not_split_over_the_devices_are_an_error(engines):
    with pytest.raises(ValueError, match="9 rows do not split over 8 dev"):
        engines[8][0].init(9, CAPACITY)


def test_ragged_rows_are_padded_to_a_bucket():
    tokens, lengths = pad([[5, 6, 7], [], [8] * 9])
    assert tokens.shape == (3, 16)
    assert lengths.tolist() == [3, 0, 9]
    assert tokens[0].tolist() == [5, 6, 7] + [0] * 13
    assert pad([[5]], least=20)[0].shape == (1, 32)


@pytest.mark.parametrize(
    "count, width", [(0, 8), (8, 8), (9, 12), (12, 12), (13, 16)]
)
def test_what_the_usual_width_holds_is_not_padded_beyond_it(count, width):
    assert pad([[5] * count], usual=12)[0].shape == (1, width)
    assert pad([[5] * count])[0].shape == (1, bucket(count))


def test_more_tokens_than_the_largest_bucket_are_an_error():
    assert bucket(4096) == 4096
    with pytest.raises(ValueError, match="4097 new tokens at once"):
        bucket(4097)
