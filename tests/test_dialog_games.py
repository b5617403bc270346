"""What the method itself decides; see test_choose, test_filters, test_play."""

import pytest

from vlm_games.methods.dialog_games import asks_all


@pytest.mark.parametrize(
    "share, count", [(0.0, 0), (0.3, 12), (0.5, 20), (1.0, 40)]
)
def test_games_that_ask_all_are_spread_evenly(share, count):
    asked = [asks_all(game, share) for game in range(40)]
    assert sum(asked) == count
    halves = sum(asked[:20]), sum(asked[20:])
    assert halves == (count / 2, count / 2)
