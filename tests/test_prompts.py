"""What the Guesser's words mean, and that every word can be replaced."""

import dataclasses

import pytest

from vlm_games.data.examples import IMAGE
from vlm_games.data.tokenizer import word_tokenizer
from vlm_games.games.prompts import (
    STYLES,
    Move,
    Prompts,
    parse_move,
    prompt_words,
    verdict_summary,
)

PROMPTS = Prompts()
# No word of these is in the defaults, and some are special in a regex.
OTHERS = Prompts(
    describer="look {image} they ask {question} you say",
    opening="play with {style} talk",
    candidate="picture {number} {image}",
    cue="think",
    last_cue="decide",
    answer="they say {answer}",
    ask="(?)",
    guess="it's",
    summary_end="|",
    end="<stop>",
    gap="  ",
    lead=" ",
    task="{image} please {instruction}",
    text_task="please {instruction}",
    openly=(("so {it} ?", "what ?", "{it}"),),
)


def test_a_question_is_read_with_the_summary_before_it():
    move = parse_move(PROMPTS, "1 yes 2 no . ask is it red ?", 2, False)
    assert move == Move("1 yes 2 no", question="is it red ?")


@pytest.mark.parametrize("must_guess", [False, True])
@pytest.mark.parametrize("number, index", [("1", 0), ("4", 3)])
def test_a_guess_counts_from_one_and_is_legal_at_any_time(
    number, index, must_guess
):
    move = parse_move(PROMPTS, f"1 no . guess {number}", 4, must_guess)
    assert move == Move("1 no", guess=index)


def test_the_summary_may_be_empty_and_may_hold_the_word_that_ends_it():
    assert parse_move(PROMPTS, ". guess 1", 2, False) == Move(guess=0)
    move = parse_move(PROMPTS, "it is red . or blue . guess 2", 2, False)
    assert move == Move("it is red . or blue", guess=1)


@pytest.mark.parametrize(
    "text, fault",
    [
        ("", "no question or guess found"),
        ("1 yes 2 yes", "no question or guess found"),
        ("1 yes ask is it red ?", "no question or guess found"),
        ("1 yes . ask is it red ? . guess 1", "two moves at once"),
        ("1 yes . ask is it red ? . ask is it blue ?", "two moves at once"),
        ("1 yes . ask", "no question or guess found"),
        ("1 yes . guess", "no question or guess found"),
        ("1 yes . guess 1 2", "no question or guess found"),
        ("1 yes . guess one", "guess is not a number"),
        ("1 yes . guess -1", "guess is not a number"),
        ("1 yes . guess \N{ARABIC-INDIC DIGIT TWO}", "guess is not a number"),
        ("1 yes . guess 9999999", "guess is not a number"),
        ("1 yes . guess 0", "guess names no image"),
        ("1 yes . guess 5", "guess names no image"),
    ],
)
def test_other_words_are_a_fault(text, fault):
    move = parse_move(PROMPTS, text, 4, False)
    assert move.fault == fault
    assert move.question is None and move.guess is None


def test_a_question_may_hold_the_words_of_another_move():
    text = ". ask which would you guess . or ask about ?"
    assert parse_move(PROMPTS, text, 2, False).fault is None


def test_a_question_where_a_guess_is_due_is_a_fault():
    text = "1 yes . ask is it red ?"
    assert parse_move(PROMPTS, text, 2, False).fault is None
    fault = parse_move(PROMPTS, text, 2, True).fault
    assert fault == "asked instead of guessing"


@pytest.mark.parametrize("prompts", [PROMPTS, OTHERS])
@pytest.mark.parametrize("move", ["ask", "guess"])
def test_what_a_role_is_taught_to_speak_is_read_back(prompts, move):
    expected = {
        "ask": Move("all of them", question="where is it ?"),
        "guess": Move("all of them", guess=2),
    }[move]
    said = "3" if expected.question is None else expected.question
    words = prompts.speak(expected.summary, f"{getattr(prompts, move)} {said}")
    assert words.endswith(prompts.end)
    text = words.removesuffix(prompts.end)
    assert parse_move(prompts, text, 4, False) == expected


def test_no_word_of_the_defaults_is_left_when_all_are_replaced():
    for field in dataclasses.fields(Prompts):
        assert getattr(OTHERS, field.name) != field.default
    said = " ".join(
        [
            OTHERS.ask_describer("how ?"),
            OTHERS.instruct("tell"),
            OTHERS.instruct("tell", image=False),
            OTHERS.open_game(2, "open"),
            OTHERS.hear("red", False),
            OTHERS.hear("red", True),
            OTHERS.speak("all", OTHERS.ask),
        ]
    )
    assert " ".join(said.split()) == (
        f"look {IMAGE} they ask how ? you say "
        f"{IMAGE} please tell please tell "
        f"play with open talk picture 1 {IMAGE} picture 2 {IMAGE} "
        "they say red think they say red decide all | (?) <stop>"
    )


@pytest.mark.parametrize("prompts", [PROMPTS, OTHERS])
def test_the_describers_prompt_is_its_trunk_and_then_the_question(prompts):
    question = "where is it ?"
    trunk, rest = prompts.describer_trunk(), prompts.question_only(question)
    assert trunk + rest == prompts.ask_describer(question)
    assert trunk.endswith(IMAGE) and IMAGE not in rest


@pytest.mark.parametrize("prompts", [PROMPTS, OTHERS])
def test_a_tokenizer_of_the_prompt_words_reads_every_prompt(prompts):
    tokenizer = word_tokenizer(prompt_words(prompts, 3))
    unknown = tokenizer.hf.unk_token_id
    texts = [prompts.ask_describer(""), prompts.hear("", True)]
    texts += [prompts.open_game(3, style) for style in STYLES]
    texts += [prompts.ask, prompts.guess, prompts.summary_end]
    for text in texts:
        assert unknown not in tokenizer.encode(text), text


def test_a_verdict_names_every_image():
    assert verdict_summary([True, False, True]) == "1 yes 2 no 3 yes"
