"""What methods ask, and how what was said is read back."""

import pytest

from vlm_games.games.instructions import (
    Instructions,
    chat_instructions,
    read_back,
)

WORLD, CHAT = Instructions(), chat_instructions()
OPTIONS = {"option_0": "red", "option_1": "blue", "option_2": "none"}
RECORD = {
    "situation": "a red ring at the top-left .",
    "question": "what color is the ring ?",
    "answer": "1",
    "rationale": "a red ring",
    **OPTIONS,
}


@pytest.mark.parametrize("spoken", [WORLD, CHAT], ids=["world", "chat"])
def test_what_is_written_after_a_template_is_read_back(spoken):
    template = spoken.situation_with(3)
    assert read_back(template, template.format(**RECORD)) == RECORD
    pair = {"question": "is it red ?", "answer": "no"}
    said = spoken.pair_said.format(**pair)
    assert read_back(spoken.pair_said, said) == pair


def test_white_space_may_have_come_out_otherwise():
    said = "  Question:  what\n is it?\n\n Answer: a dog  "
    found = read_back(CHAT.pair_said, said)
    assert found == {"question": "what\n is it?", "answer": "a dog"}


@pytest.mark.parametrize(
    "said", ["", "Question: why?", "Question: Answer: no", "Answer: a dog"]
)
def test_a_text_that_lacks_a_field_is_not_read(said):
    assert read_back(CHAT.pair_said, said) is None


def test_options_stand_behind_their_marks():
    assert WORLD.list_options(["red", "blue"]) == "1 red 2 blue"
    assert CHAT.list_options(["red", "blue"]) == "A. red\nB. blue"


def test_more_options_than_marks_are_an_error():
    with pytest.raises(ValueError, match="5 options.*only 4: 1, 2, 3, 4"):
        WORLD.list_options(["x"] * 5)


def test_pools_of_the_paper_have_eight_instructions():
    assert len(CHAT.describe) == len(CHAT.invent) == 8
    assert len(set(CHAT.describe + CHAT.careful + CHAT.invent)) == 17
