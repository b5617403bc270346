"""Which images a host looks at for its games, and that it changes nothing."""

import runpy
import types

import numpy as np
import pytest
from program import ROOT

from vlm_games import hosts
from vlm_games.games.filters import Evidence
from vlm_games.games.protocol import PlayedGame
from vlm_games.methods.dialog_games import DialogGames

TOTAL, GAMES = 40, 4


class Source(list):
    names = tuple(f"folder/{i}" for i in range(TOTAL))


class Plain:
    """An engine whose image tokens are the pixels."""

    def encode(self, params, pixels):
        return pixels.reshape(len(pixels), -1)


@pytest.fixture
def games():
    """The method, with games that end before a word is said."""
    c = runpy.run_path(str(ROOT / "configs/scenes.py"))["get_config"]()
    c.game.games = c.game.shard = GAMES  # of 4 of 40 images
    pixels = np.random.default_rng(0).integers(0, 256, (TOTAL, 8, 8, 3))
    bench = types.SimpleNamespace(
        config=c, images=Source(pixels.astype(np.uint8)), engine=Plain()
    )
    method = DialogGames(bench)
    method.seen = []

    def play(params, views, specs, seed):
        method.seen.append((views, specs))
        return [PlayedGame(s, (), "", s.target, None) for s in specs]

    def gather(params, views, played, seed):
        nothing = np.zeros((0, 4))
        return [(Evidence(g, nothing, nothing), nothing) for g in played]

    method._play, method._gather = play, gather
    return method


def test_a_view_is_the_same_whoever_else_is_looked_at(games):
    whole, few = (games._see(None, 1, n) for n in (range(TOTAL), [7, 30]))
    (judge,), (of_few,) = whole.judges, few.judges
    np.testing.assert_array_equal(of_few, judge[[7, 30]])
    assert (of_few != whole.guesser[[7, 30]]).any()


def test_few_games_look_at_their_own_images_and_are_the_same(
    games, monkeypatch
):
    made = []
    for count, whole in ((1, False), (1, True), (4, False)):
        monkeypatch.setattr(hosts, "count", lambda count=count: count)
        # With enough games to come, all images are looked at.
        games.config.games = TOTAL if whole else GAMES
        prepared = games.prepare(None, 1)
        assert (prepared.views is not None) == whole
        made.append(games.candidates(None, prepared, 1, 0))
    assert made[0] == made[1] == made[2]
    own, specs = games.seen[0]
    assert len(own.images) <= 4 * GAMES < len(games.seen[1][0].images)
    for record, spec in zip(made[0], specs, strict=True):
        shown = own.guesser[list(spec.images)]
        pixels = np.stack([games.bench.images[i] for i in record.images])
        np.testing.assert_array_equal(shown, pixels.reshape(4, -1))
        assert record.names[0] == f"folder/{record.images[0]}"
