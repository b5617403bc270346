"""Options in other orders, and what of a text counts as a choice."""

import numpy as np
import pytest

from vlm_games.games.choice import marks_alone, parse_mark, shuffle_options

LETTERS = ("A", "B", "C", "D")
NUMBERS = ("1", "2", "3", "4")
OPTIONS = ("red", "green", "blue", "none")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("B", 1),
        ("B.", 1),
        ("(B)", 1),
        ("**B**", 1),
        ("b", 1),
        ("(b) leave", 1),
        (" C: call for help", 2),
        ("D call for help", 3),
        ("A because B is rash", 0),
        ("A. A dog bites", 0),
        ("The answer is C.", 2),
        ("Answer: D", 3),
        ("the best choice is (B), not A", 1),
        ("I think that B is best", 1),
        ("A careful person would take D", 3),
        ("选B", 1),
    ],
)
def test_a_letter_is_read_however_it_is_said(text, place):
    assert parse_mark(text, LETTERS) == place


@pytest.mark.parametrize(
    ("text", "place"),
    [("2", 1), ("2 .", 1), ("2 . because it is red", 1), ("answer : 4", 3)],
)
def test_numbers_are_marks_as_well(text, place):
    assert parse_mark(text, NUMBERS) == place


@pytest.mark.parametrize(
    "text",
    ["", "?", "E", "E. because A is wrong", "none", "Because", "I do"]
    + ["A dog runs", "a dog", "Both", "12", "2B"],
)
def test_no_option_is_none(text):
    assert parse_mark(text, LETTERS) is None


def test_a_mark_beyond_the_options_is_none():
    assert parse_mark("3 . red", NUMBERS[:2]) is None
    assert parse_mark("12", NUMBERS) is None
    assert parse_mark("The answer is D, not A", LETTERS[:3]) is None


def test_marks_may_wear_brackets():
    assert parse_mark("(2) red", ("(1)", "(2)")) == 1


def test_marks_within_words_are_no_marks():
    assert marks_alone("A dog, an A-level, 2-year plan. Do it", LETTERS) == []
    assert marks_alone("not B, but D because of it", LETTERS) == [1, 3]


def test_shuffled_options_are_the_same_and_the_answer_goes_along():
    rng = np.random.default_rng(0)
    for _ in range(40):
        options, answer = shuffle_options(rng, OPTIONS, 2)
        assert sorted(options) == sorted(OPTIONS)
        assert options[answer] == "blue"


def test_the_answer_stands_where_it_is_wanted_and_the_others_anywhere():
    rng = np.random.default_rng(0)
    orders = set()
    for i in range(200):
        options, answer = shuffle_options(rng, OPTIONS, 1, place=i % 4)
        assert (answer, options[i % 4]) == (i % 4, "green")
        orders.add(options)
    assert len(orders) == 24


def test_every_place_is_as_likely():
    rng = np.random.default_rng(0)
    places = [shuffle_options(rng, OPTIONS, 0)[1] for _ in range(4_000)]
    assert np.bincount(places).min() > 900


def test_the_same_draw_is_the_same_order():
    one, other = (
        shuffle_options(np.random.default_rng((3, 1)), OPTIONS, 0)
        for _ in range(2)
    )
    assert one == other
