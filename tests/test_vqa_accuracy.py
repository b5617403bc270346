"""VQAv2 and TextVQA: the owners' accuracy, odd rules included.

The expected figures are worked out by hand from the owners' rules. Beyond
them, files of random answers were scored here and by the owners' scorer, see
docs/benchmarks.md.
"""

import pytest

from vlm_games.evaluation.benchmarks import textvqa, vqav2
from vlm_games.evaluation.benchmarks.vqa_text import CONTRACTIONS, normalise


def people(*answers):
    return [
        {"answer": answer, "answer_confidence": "yes", "answer_id": number}
        for number, answer in enumerate(answers, 1)
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Two dogs", "2 dogs"),
        ("none", "0"),
        ("an apple", "apple"),
        ("dont", "don't"),
        ("wed've", "we'd've"),
        ("couldn'tve", "couldn't've"),
        ("somebody'd", "somebodyd"),  # the owners' table has it so
        ("IM", "im"),  # and its entries in capitals are never met
        ("red-blue", "red blue"),  # no space beside the mark
        ("red - blue", "red blue"),
        ("red, blue/green", "red blue green"),
        ("1,000", "1000"),
        ("x/y 1,000", "xy 1000"),  # a comma among digits: every mark goes
        ("3.5", "3.5"),
        ("5. yes.", "5 yes"),
        ("U.S.A.", "usa"),
        ("." * 40 + "x", "." * 8 + "x"),  # 32 full stops are taken out
        ("", ""),
    ],
)
def test_an_answer_is_normalised_as_the_owners_do(text, expected):
    assert normalise(text) == expected


def test_the_table_of_contractions_is_whole():
    """The owners' 120 but for 4 in capitals and 2 that change nothing."""
    assert len(CONTRACTIONS) == 114


@pytest.mark.parametrize(
    ("count", "expected"),
    # Of each person the others count: (10 - n) min(1, n / 3) + n min(1, (n-1)
    # / 3), over ten.
    [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (9, 1)],
)
def test_each_person_is_left_out_in_turn(count, expected):
    answers = people(*["cat"] * count, *["dog"] * (10 - count))
    found = vqav2.accuracy("cat", answers, "here")
    assert found == pytest.approx(expected)


def test_where_all_agree_answers_are_compared_as_they_stand():
    same = people(*["yes"] * 10)
    assert vqav2.accuracy("yes", same, "here") == 1
    assert vqav2.accuracy(" yes\n", same, "here") == 1
    assert vqav2.accuracy("Yes", same, "here") == 0
    assert vqav2.accuracy("yes.", same, "here") == 0
    other = people(*["yes"] * 9, "no")
    assert vqav2.accuracy("Yes.", other, "here") == 1


def test_people_are_normalised_too():
    answers = people(*["The 2"] * 5, *["two."] * 4, "3")
    assert vqav2.accuracy("2", answers, "here") == 1


def test_records_alike_in_all_fields_are_one_person():
    twins = [{"answer": "a cat"}] * 3 + [{"answer": "dog"}]
    # A twin leaves all three out: (0 + 0 + 0 + 1) / 4.
    assert vqav2.accuracy("cat", twins, "here") == 0.25


def test_text_vqa_normalises_always_and_splits_genitives():
    assert textvqa.accuracy("Nokia?", ["nokia"] * 10) == 1
    assert textvqa.accuracy("mc donald's", ["mc donald 's"] * 10) == 1
    answers = ["a stop sign"] * 2 + ["go"] * 8
    assert textvqa.accuracy("Stop Sign", answers) == pytest.approx(0.6)
