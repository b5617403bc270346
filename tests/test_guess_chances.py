"""What the Guesser would name, against what it does name."""

import dataclasses

import numpy as np
import pytest

from vlm_games.command_line import load_config
from vlm_games.methods.dialog_games import DialogGames
from vlm_games.methods.guess_chances import guess_chances
from vlm_games.workbench import build

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_compiles")]

FIELDS = (
    "play_images=40",
    "play.guesser_temperature=0.0",
    "play.turns=2",
    "play.slots=8",
    "game.games=8",
    "game.shard=8",
    "game.judges=0",
    "game.filter=likelihood",
    "game.asks_all=1.0",
    "game.corrupted=0.5",
    "score_rows=4",
    "eval.target_images=8",
    "eval.source_images=8",
    "eval.games=2",
)


@pytest.fixture(scope="module")
def played():
    """(bench, params, games), the Guesser greedy."""
    config = load_config("scenes", [f"config.{field}" for field in FIELDS])
    setup = build(config)
    method, params = DialogGames(setup.bench), setup.base_params
    games = method.candidates(params, method.prepare(params, 1), 1, 0)
    return setup.bench, params, games


def test_at_the_end_it_names_what_is_likeliest(played):
    bench, params, games = played
    chances = guess_chances(bench, params, games)
    named = 0
    for game, found in zip(games, chances, strict=True):
        assert found.shape == (len(game.turns), 4)
        np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-5)
        if game.guess is not None and len(game.turns) == 2:
            named += 1
            assert found[-1].argmax() == game.guess
    assert named >= 4


def test_a_game_has_the_same_chances_alone_and_among_others(played):
    bench, params, games = played
    game = next(g for g in games if g.copy is not None and g.turns)
    (alone,) = guess_chances(bench, params, [game])
    among = guess_chances(bench, params, games)[games.index(game)]
    np.testing.assert_allclose(alone, among, atol=1e-4)
    plain = dataclasses.replace(game, copy=None)
    (other,) = guess_chances(bench, params, [plain])
    assert np.abs(other - alone).max() > 1e-3  # the copy was looked at


def test_without_a_turn_there_is_nothing_to_tell(played):
    bench, params, games = played
    empty = dataclasses.replace(games[0], turns=())
    (found,) = guess_chances(bench, params, [empty])
    assert found.shape == (0, 4)


def test_a_listening_guesser_is_refused(played):
    bench, params, games = played
    config = bench.config.copy_and_resolve_references()
    config.play.guess = "likelihood"
    listening = dataclasses.replace(bench, config=config)
    with pytest.raises(ValueError, match="belief of each turn"):
        guess_chances(listening, params, games)
