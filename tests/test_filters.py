"""Which games each filter lets pass, and how their worth is measured."""

import numpy as np
import pytest

from vlm_games.games import filters
from vlm_games.games.filters import FILTERS, Evidence
from vlm_games.games.protocol import Exchange, GameSpec, PlayedGame

# Two answers judged under three images: image 1 makes them likeliest, though
# image 0 the second of them and image 2 neither.
POINTS_TO_1 = np.log([[0.1, 0.8, 0.7], [0.6, 0.5, 0.2]])
POINTS_TO_0 = np.log([[0.8, 0.1, 0.7], [0.5, 0.6, 0.2]])


def played(guess: int | None, target: int = 1, reason: str | None = None):
    exchange = Exchange("is it red ?", "yes", "", -1.0, -0.1)
    spec = GameSpec(0, (7, 8, 9), target)
    return PlayedGame(spec, (exchange, exchange), "", guess, reason)


WON, LOST = played(guess=1), played(guess=0)
ABORTED = played(guess=None, reason="empty answer")


def verdicts(name: str, **parts):
    """The filter's verdicts on a game won, lost and aborted."""
    return [FILTERS[name](Evidence(g, **parts)) for g in (WON, LOST, ABORTED)]


def test_complete_drops_only_aborted_games():
    assert verdicts("complete") == [True, True, False]


def test_success_keeps_only_games_won():
    assert verdicts("success") == [True, False, False]


def test_a_guess_left_over_in_an_aborted_game_is_no_success():
    game = played(guess=1, reason="asked instead of guessing")
    assert not FILTERS["success"](Evidence(game))
    assert game.outcome == "aborted"


@pytest.mark.parametrize(
    "name, part", [("likelihood", "shared"), ("views", "views")]
)
def test_likelihood_asks_the_answers_and_not_the_guess(name, part):
    other = {"shared": "views", "views": "shared"}[part]
    for game in (WON, LOST):
        evidence = Evidence(game, **{part: POINTS_TO_1, other: POINTS_TO_0})
        assert FILTERS[name](evidence)
        evidence = Evidence(game, **{part: POINTS_TO_0, other: POINTS_TO_1})
        assert not FILTERS[name](evidence)


@pytest.mark.parametrize(
    "name, part", [("likelihood", "shared"), ("views", "views")]
)
def test_a_game_without_answers_points_nowhere(name, part):
    evidence = Evidence(played(guess=0, target=0), **{part: np.zeros((0, 3))})
    assert not FILTERS[name](evidence)


@pytest.mark.parametrize("name", ["again", "reshuffled"])
def test_asking_again_demands_success_every_time(name):
    assert verdicts(name, **{name: (True, True)}) == [True, False, False]
    assert verdicts(name, **{name: (True, False)}) == [False] * 3


def test_truth_is_counted_per_answer_and_unknown_answers_are_left_out():
    passed = np.array([True] * 5 + [False] * 2)
    true = filters.known([True, True, False, None, None, True, False])
    found = filters.truth_rates(passed, true)
    assert found["truth_kept"] == pytest.approx(100 * 2 / 3)
    assert found["truth_dropped"] == pytest.approx(50)
    unknown = filters.truth_rates(np.array([True]), filters.known([None]))
    assert unknown == {"truth_kept": None, "truth_dropped": None}


def answers(kept: bool, stratum: int, right: int, wrong: int):
    """So many answers, in columns."""
    true = filters.known([True] * right + [False] * wrong)
    return np.full(len(true), kept), true, np.full(len(true), stratum)


def together(some):
    """The columns of several."""
    return [np.concatenate(column) for column in zip(*some, strict=True)]


def test_lift_within_strata_does_not_count_what_is_asked():
    # In both strata kept and dropped answers are equally true; the kept games
    # have merely more of the easy ones.
    found = [
        answers(True, 0, 72, 8),
        answers(False, 0, 18, 2),
        answers(True, 1, 10, 10),
        answers(False, 1, 40, 40),
    ]
    passed, true, strata = together(found)
    rates = filters.truth_rates(passed, true)
    assert rates["truth_kept"] - rates["truth_dropped"] == pytest.approx(24)
    lift = filters.stratified_lift(passed, true, strata)
    assert lift == pytest.approx(0, abs=1e-9)


def test_lift_weighs_strata_by_both_sides():
    # Lifts of 50 and 10 points; weights 4 * 4 / 8 = 2 and 10 * 10 / 20 = 5.
    found = [
        answers(True, 5, 4, 0),
        answers(False, 5, 2, 2),
        answers(True, 7, 6, 4),
        answers(False, 7, 5, 5),
        answers(True, 9, 0, 50),
    ]
    passed, true, strata = together(found)
    lift = filters.stratified_lift(passed, true, strata)
    assert lift == pytest.approx((2 * 50 + 5 * 10) / 7)


def test_lift_is_unknown_where_nothing_can_be_compared():
    found = [answers(True, 0, 3, 1), answers(False, 1, 1, 3)]
    assert filters.stratified_lift(*together(found)) is None
    nobody = np.array([True]), filters.known([None]), np.array([0])
    assert filters.stratified_lift(*nobody) is None
