"""Played games: what they depend on, who sees what, and how they end.

The shipped base plays, for a model that never learned the rules would abort
every game.
"""

import collections
import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlm_games.data.packing import encode
from vlm_games.games.play import Role, Table
from vlm_games.games.prompts import Move, Prompts
from vlm_games.games.protocol import GameSettings, GameSpec
from vlm_games.methods import choose
from vlm_games.models.mesh import make_mesh, place, play_mesh
from vlm_games.sampling.engine import Engine, Sampling
from vlm_games.worlds.splits import load_split

pytestmark = pytest.mark.usefixtures("quick_compiles")

PROMPTS = Prompts()
RULES = GameSettings(turns=3, slots=16)
GREEDY = {"guesser_temperature": 0.0, "describer_temperature": 0.0}
IMAGES, SIZE, GAMES = 32, 4, 40
SEED = (0, 3)
DRAWN = 16  # of the games, to compare meshes by


@dataclasses.dataclass(frozen=True)
class Said:
    """One row's part of one turn: token ids that it read and then said."""

    game: int
    guesser: bool
    read: tuple[int, ...]
    said: tuple[int, ...]


class RecordingEngine(Engine):
    """An engine that notes what the active rows of every turn read and say."""

    def __init__(self, config, mesh):
        super().__init__(config, mesh)
        self.log: list[Said] = []

    def turn(self, params, session, keep, ids, row_ids, *others, **kinds):
        _, active, *_, limit = others[:6]
        session, words = super().turn(
            params, session, keep, ids, row_ids, *others, **kinds
        )
        host, ids, active = jax.device_get((words, ids, active))
        for row in np.flatnonzero(active):
            read = ids[0][row, : ids[1][row]]
            said = host.tokens[row, : host.count[row]]
            guesser = limit == RULES.guesser_tokens
            self.log.append(
                Said(row_ids[row], guesser, tuple(read), tuple(said))
            )
        return session, words


@dataclasses.dataclass(frozen=True)
class Players:
    """The base on some devices, with its view of the images.

    Attributes:
      role: a seat of the base; both seats in self-play.
    """

    engine: RecordingEngine
    tokenizer: object
    role: Role

    def table(self, **settings) -> Table:
        rules = dataclasses.replace(RULES, **settings)
        return Table(self.engine, self.tokenizer, PROMPTS, rules, SIZE)

    def play(self, specs, seed=SEED, describer=None, guesser=None, **settings):
        """{number: game}; the engine's log is of these games alone."""
        self.engine.log.clear()
        seats = guesser or self.role, describer or self.role
        played = list(self.table(**settings).play(*seats, specs, seed))
        assert len({g.spec.game for g in played}) == len(played)
        return {g.spec.game: g for g in played}


@pytest.fixture(scope="module")
def pixels():
    return load_split("source/validation", IMAGES)[1]


@pytest.fixture(scope="module")
def seat_players(base, pixels):
    """Makes the players on so many devices."""
    config, params, tokenizer = base

    def make(devices: int, mesh=None) -> Players:
        mesh = mesh or make_mesh(jax.devices()[:devices])
        # 71 words do not split; a model may have more than are said.
        wide = dataclasses.replace(config, vocab_size=72)
        table = params["embed"]["embedding"]
        table = jnp.pad(table, ((0, 1), (0, 0)))
        engine = RecordingEngine(wide, mesh)
        params_there = params | {"embed": {"embedding": table}}
        params_there = place(mesh, params_there)
        tokens = engine.encode(params_there, pixels, chunk=IMAGES)
        return Players(engine, tokenizer, Role(params_there, tokens))

    return make


@pytest.fixture(scope="module")
def players(seat_players):
    return seat_players(8)


@pytest.fixture(scope="module")
def specs():
    """Games 0..39; no image is in two of any eight that begin at 8 k."""
    rng = np.random.default_rng(0)
    orders = [rng.permutation(IMAGES) for _ in range(GAMES * SIZE // IMAGES)]
    images = np.concatenate(orders).reshape(GAMES, SIZE)
    return [
        GameSpec(game, tuple(row.tolist()), int(rng.integers(SIZE)))
        for game, row in enumerate(images)
    ]


@pytest.fixture(scope="module")
def sampled(players, specs):
    """(games, log) of all specs at temperature 1."""
    games = players.play(specs)
    return games, list(players.engine.log)


@pytest.fixture(scope="module")
def greedy(players, specs):
    """The first eight games, nothing drawn by chance."""
    return players.play(specs[:8], **GREEDY)


def words(game):
    """All that was said in a game."""
    talk = tuple((x.summary, x.question, x.answer) for x in game.exchanges)
    return talk, game.final_summary, game.guess, game.reason


def log_probs(game):
    pairs = [(x.question_logprob, x.answer_logprob) for x in game.exchanges]
    return np.array(pairs).reshape(-1, 2)


def assert_same(found, expected):
    """Equal words; their probabilities, up to rounding."""
    assert found.keys() == expected.keys()
    for number, game in found.items():
        assert words(game) == words(expected[number]), number
        np.testing.assert_allclose(
            log_probs(game), log_probs(expected[number]), atol=1e-3
        )


# What a game depends on -------------------------------------------------------


def test_every_game_is_played_once_though_slots_are_fewer(sampled, specs):
    assert len(specs) > 2 * RULES.slots
    games, _ = sampled
    assert [games[n].spec for n in sorted(games)] == specs


def test_the_base_plays_real_games(sampled):
    # Else the claims below would be empty.
    games, _ = sampled
    reasons = collections.Counter(g.reason for g in games.values())
    assert reasons[None] > 0.8 * GAMES
    turns = {len(g.exchanges) for g in games.values() if g.reason is None}
    assert RULES.turns in turns and len(turns) > 1
    assert len({words(g) for g in games.values()}) > 0.9 * GAMES


def test_a_game_is_the_same_whatever_is_played_beside_it(
    players, specs, sampled
):
    games, _ = sampled
    few = [37, 5, 18]
    alone = players.play([specs[n] for n in few])
    assert_same(alone, {n: games[n] for n in few})


@pytest.mark.parametrize("seed", [(1, 3), (0, 4)])
def test_another_seed_or_iteration_is_another_game(
    players, specs, sampled, seed
):
    games, _ = sampled
    others = players.play(specs[:8], seed=seed)
    assert sum(words(games[n]) == words(others[n]) for n in range(8)) <= 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "fsdp", "tensor", "together"),
    [(1, 1, 1, 0), (2, 4, 1, 0), (2, 2, 2, 0), (2, 4, 1, 2)],
)
def test_games_are_the_same_on_any_mesh(
    seat_players, specs, greedy, sampled, data, fsdp, tensor, together
):
    """As on 8x1x1; `together` is `config.mesh.play`."""
    devices = jax.devices()[: data * fsdp * tensor]
    mesh = make_mesh(devices, fsdp=fsdp, tensor=tensor)
    assert tuple(mesh.shape.values()) == (data, fsdp, tensor)
    mesh = play_mesh(mesh, together)
    assert mesh.shape["tensor"] == (together or tensor)
    players = seat_players(len(devices), mesh)
    assert_same(players.play(specs[:8], **GREEDY), greedy)
    # A draw turns out otherwise where rounding moves it over a border: here
    # in none of all 40 games on any of these meshes.
    drawn, games = players.play(specs[:DRAWN]), sampled[0]
    others = [n for n in drawn if words(drawn[n]) != words(games[n])]
    assert len(others) <= 1, others


def test_nothing_compiles_once_games_were_played(players, specs, sampled):
    warm = players.engine.compilations()
    players.play(specs[::-1], seed=(9, 9), guesser_temperature=0.5)
    assert players.engine.compilations() == warm


# Who sees what ----------------------------------------------------------------


def with_noise(role: Role, images) -> Role:
    """The role, seeing noise instead of `images`."""
    tokens = np.array(role.image_tokens).reshape(IMAGES, -1)
    rng = np.random.default_rng(0)
    tokens[images] = rng.normal(0, tokens.std(), tokens[images].shape)
    sharding = role.image_tokens.sharding
    tokens = tokens.reshape(role.image_tokens.shape)
    return Role(role.params, jax.device_put(tokens, sharding))


class Sealed:
    """An array of a device that the host cannot look into."""

    def __init__(self, array):
        self.array = array

    def __array__(self, *args, **kwargs):
        raise AssertionError("the host waits outside jax.device_get")

    __bool__ = __int__ = __float__ = __iter__ = __array__


def seal(tree):
    return jax.tree.map(Sealed, tree)


def unseal(tree):
    return jax.tree.map(lambda x: getattr(x, "array", x), tree)


class SealedEngine(Engine):
    """An engine whose words are for `jax.device_get` alone."""

    def turn(self, *args, **kinds):
        args = [x if isinstance(x, Sampling) else unseal(x) for x in args]
        session, words = super().turn(*args, **kinds)
        return session, seal(words)

    def hand_over(self, words, active, how):
        return seal(super().hand_over(unseal(words), active, how))


@pytest.mark.slow
def test_the_host_waits_once_a_turn(players, specs, monkeypatch):
    """Games in step: as many waits as the longest has turns, and a last."""
    waits, device_get = [], jax.device_get
    engine = SealedEngine(players.engine.config, players.engine.mesh)
    table = Table(engine, players.tokenizer, PROMPTS, RULES, SIZE)

    def counted(tree):
        waits.append(tree)
        return device_get(unseal(tree))

    with pytest.raises(AssertionError, match="outside"):
        np.asarray(seal(jax.numpy.ones(1)))
    monkeypatch.setattr(jax, "device_get", counted)
    games = list(table.play(players.role, players.role, specs[:16], SEED))
    longest = max(len(game.exchanges) for game in games)
    assert longest == RULES.turns
    assert len(waits) == longest + 1


def test_a_question_that_begins_twice_aborts_the_game(players):
    table = players.table()
    words = np.array(
        [players.tokenizer.encode("ask red . ask is there a ring ?")]
    )
    asking = types.SimpleNamespace(first=np.array([1]), count=np.array([8]))
    said = types.SimpleNamespace(tokens=words)
    move = Move("ask red", "is there a ring ?")
    found = table._check_question(said, asking, 0, move)
    assert found.fault == "where the question begins is not clear"
    asking = types.SimpleNamespace(first=np.array([4]), count=np.array([5]))
    assert table._check_question(said, asking, 0, move) == move


def test_the_describer_sees_the_target_alone(players, specs, greedy):
    targets = [s.images[s.target] for s in specs[:8]]
    others = sorted(set(range(IMAGES)) - set(targets))
    play = {"specs": specs[:8], **GREEDY}
    blurred = with_noise(players.role, others)
    assert_same(players.play(describer=blurred, **play), greedy)
    # Noise on the targets, however, does change what it says.
    blurred = with_noise(players.role, targets)
    found = players.play(describer=blurred, **play)
    answered = [n for n, game in greedy.items() if game.exchanges]
    assert len(answered) >= 4
    for number in answered:
        first, now = (log_probs(g[number])[:1, 1] for g in (greedy, found))
        assert not len(now) or abs(first - now) > 1e-3


def test_the_guesser_does_not_see_which_image_is_the_target(
    players, specs, greedy
):
    elsewhere = [
        dataclasses.replace(s, target=(s.target + 1) % SIZE) for s in specs[:8]
    ]
    found = players.play(elsewhere, **GREEDY)
    firsts = [
        (greedy[n].exchanges[0], found[n].exchanges[0])
        for n in range(8)
        if greedy[n].exchanges and found[n].exchanges
    ]
    assert len(firsts) >= 4
    for first, now in firsts:
        assert (first.summary, first.question) == (now.summary, now.question)
        assert first.question_logprob == pytest.approx(
            now.question_logprob, abs=1e-3
        )


def test_a_describer_without_memory_answers_a_question_always_the_same(
    players, specs
):
    same = [dataclasses.replace(specs[0], game=n) for n in range(GAMES)]
    games = players.play(same, describer_temperature=0.0)
    given = collections.defaultdict(set)
    asked = [x for game in games.values() for x in game.exchanges]
    for exchange in asked:
        given[exchange.question].add(exchange.answer)
    assert len(given) < 0.9 * len(asked)
    assert {len(answers) for answers in given.values()} == {1}


def words_of(game):
    said = [(x.question, x.answer) for x in game.exchanges]
    return said, game.final_summary, game.guess, game.reason


def test_who_must_ask_all_questions_does_and_the_others_play_as_ever(
    players, specs
):
    must = {spec.game: spec.game % 2 == 0 for spec in specs}
    mixed = [dataclasses.replace(s, asks_all=must[s.game]) for s in specs]
    games, free = players.play(mixed), players.play(specs)
    asked = [len(g.exchanges) for g in games.values() if g.guess is not None]
    assert min(asked) < RULES.turns
    for number, game in games.items():
        if not must[number]:
            assert words_of(game) == words_of(free[number])
        elif game.guess is not None:
            assert len(game.exchanges) == RULES.turns


# What is said -----------------------------------------------------------------


def test_image_and_special_tokens_are_never_said(players, specs):
    # So hot that any word is as likely as any other.
    hot = {"guesser_temperature": 1e3, "describer_temperature": 1e3}
    players.play(specs, **hot)
    said = {token for x in players.engine.log for token in x.said}
    tokenizer = players.tokenizer
    never = {*tokenizer.hf.all_special_ids, tokenizer.image_id}
    never -= {tokenizer.eos_id}
    assert said == set(range(len(tokenizer.hf))) - never


def test_embeddings_without_a_word_are_never_said(base):
    config, _, tokenizer = base
    surplus = dataclasses.replace(config, vocab_size=config.vocab_size + 9)
    engine = Engine(surplus, make_mesh())
    table = Table(engine, tokenizer, PROMPTS, RULES, SIZE)
    assert table._forbidden.shape == (2, surplus.vocab_size)
    assert table._forbidden[:, -9:].all()


def test_a_game_is_taught_to_the_guesser_as_it_was_played(
    players, sampled, specs
):
    games, log = sampled
    checked = 0
    for number, game in games.items():
        if game.reason is not None:
            continue
        shown = types.SimpleNamespace(
            images=game.spec.images,
            turns=game.exchanges,
            final_summary=game.final_summary,
            guess=game.guess,
            target=game.spec.target,
        )
        example = choose.guesser_example(shown, PROMPTS, RULES, False)
        taught = encode(example, players.tokenizer, 1)
        heard = [x for x in log if x.game == number and x.guesser]
        talk = [token for x in heard for token in (*x.read, *x.said)]
        assert taught.tokens[-len(talk) :].tolist() == talk
        # The rest is the opening, which is as long in every game.
        rest = PROMPTS.open_game(SIZE, RULES.style)
        rest = players.tokenizer.encode(f"{rest} {PROMPTS.cue}")
        assert taught.tokens[: -len(talk)].tolist() == list(rest)
        checked += 1
    assert checked > 0.8 * GAMES


# How games end ----------------------------------------------------------------


def test_the_guess_is_forced_after_the_last_turn(players, sampled):
    games, log = sampled
    spoke = collections.defaultdict(list)
    for x in log:
        if x.guesser:
            spoke[x.game].append(players.tokenizer.decode(x.read))
    forced = 0
    for number, game in games.items():
        heard = spoke[number]
        assert len(heard) <= RULES.turns + 1
        for turn, text in enumerate(heard):
            must_guess = text.endswith(PROMPTS.last_cue)
            assert must_guess == (turn == RULES.turns)
        assert len(game.exchanges) <= RULES.turns
        forced += len(heard) == RULES.turns + 1
    assert forced > 3


def silenced(players) -> Role:
    """A role to which all words are equally likely: greedily it says none.

    Of the words that may be said, the end has the lowest number.
    """
    params = jax.tree.map(lambda x: x, players.role.params)
    scale = params["decoder"]["norm"]["scale"]
    params["decoder"]["norm"]["scale"] = 0 * scale
    return Role(params, players.role.image_tokens)


def test_an_empty_answer_aborts_the_game(players, specs):
    games = players.play(specs[:8], describer=silenced(players), **GREEDY)
    for game in games.values():
        assert game.reason == "empty answer"
        assert (game.exchanges, game.guess) == ((), None)
        assert game.outcome == "aborted" and not game.success


def test_a_guesser_that_says_nothing_aborts_the_game(players, specs):
    games = players.play(specs[:8], guesser=silenced(players), **GREEDY)
    reasons = {game.reason for game in games.values()}
    assert reasons == {"no question or guess found"}


@pytest.mark.parametrize("role", ["guesser", "describer"])
def test_a_role_that_does_not_come_to_an_end_aborts_the_game(
    players, specs, role
):
    games = players.play(specs[:8], **{f"{role}_temperature": 1e3})
    reasons = collections.Counter(g.reason for g in games.values())
    assert reasons[f"the {role.title()} did not come to an end"] >= 3


# Asking again -----------------------------------------------------------------


@pytest.fixture(scope="module")
def full(sampled):
    """Games that went to the last turn, after which a guess is due."""
    games = [g for g in sampled[0].values() if g.reason is None]
    return [g for g in games if len(g.exchanges) == RULES.turns]


@pytest.mark.slow
def test_a_script_with_the_draws_of_the_game_is_the_same_game(players, full):
    assert len(full) >= 3
    scripts = [choose.script(game, None) for game in full]
    assert [s.images for s in scripts] == [g.spec.images for g in full]
    found = players.play(scripts)
    for game in full:
        assert words(found[game.spec.game]) == words(game)
    # The Describer is not asked.
    assert all(x.guesser for x in players.engine.log)


def test_a_shuffled_script_keeps_the_dialog_and_the_target(players, full):
    scripts = [choose.script(game, (*SEED, 0)) for game in full]
    moved = 0
    for game, spec in zip(full, scripts, strict=True):
        before = game.spec
        assert sorted(spec.images) == sorted(before.images)
        assert spec.images[spec.target] == before.images[before.target]
        moved += spec.target != before.target
    assert moved > 0.4 * len(full)
    found = players.play(scripts)
    reasons = collections.Counter(g.reason for g in found.values())
    assert reasons[None] > 0.8 * len(full)
    for game in full:
        again = found[game.spec.game]
        dialogs = [
            [(x.question, x.answer) for x in g.exchanges] for g in (game, again)
        ]
        assert dialogs[0] == dialogs[1]


def test_scripts_and_games_do_not_mix(players, specs):
    script = dataclasses.replace(specs[0], script=(("is it ?", "yes"),))
    with pytest.raises(ValueError, match="do not mix"):
        players.play([script, specs[1]])
