"""Records of text: read, checked, chosen, and learned with images untouched."""

import collections
import dataclasses
import re
import types

import numpy as np
import pytest

from vlm_games.data.packing import encode
from vlm_games.data.schema import RecordError
from vlm_games.data.tokenizer import word_tokenizer
from vlm_games.games.answer import Answer
from vlm_games.games.instructions import Instructions, chat_instructions
from vlm_games.games.prompts import Prompts
from vlm_games.methods import text, text_examples
from vlm_games.methods import text_records as kinds
from vlm_games.methods.text_records import SituationRecord, read_written
from vlm_games.workbench import stratum, told_truth

SITUATION = "a large red circle at the top-left , a small blue ring at the {} ."
QUESTION = "what color is the circle ?"
OPTIONS = ("blue", "red", "none", "green")
RATIONALE = "a large red circle"
WORDS = set(
    " ".join(
        [
            SITUATION.format("top-right bottom-left bottom-right"),
            QUESTION,
            *OPTIONS,
            "describe : question answer open 1 2 3 4 . yes no",
        ]
    ).split()
)
PLACES = ("top-right", "bottom-left", "bottom-right")


def written(number=0, right="2", rationale=RATIONALE) -> str:
    """The words of a model that writes a sound record."""
    options = " ".join(f"{i} {o}" for i, o in enumerate(OPTIONS, 1))
    situation = SITUATION.format(PLACES[number % 3])
    return (
        f"{situation} question : {QUESTION} {options} answer : {right} . "
        f"{rationale}"
    )


def settings(**fields):
    learn = types.SimpleNamespace(lengths=types.SimpleNamespace(text=96))
    given = {
        "records": 10,
        "shard": 4,
        "rows": 128,
        "options": 4,
        "tokens": 72,
        "temperature": 1.0,
        "checks": 3,
        "choice_tokens": 2,
        "balance": True,
        "learn": learn,
    }
    return types.SimpleNamespace(**given | fields)


def bench(**fields):
    return types.SimpleNamespace(
        config=types.SimpleNamespace(seed=0, text=settings(**fields)),
        tokenizer=word_tokenizer(WORDS),
        prompts=Prompts(),
        instructions=Instructions(),
        engine=None,
        stratum=stratum,
        told_truth=told_truth,
    )


def knows(prompt: str) -> str:
    """Names the mark of "red", wherever it stands."""
    return re.search(r"(\d) red", prompt.partition("question")[2])[1] + " ."


@pytest.fixture
def say(monkeypatch):
    """Has `write(number)` written, and checks answered by `choose(prompt)`."""
    calls = []

    def scripted(write=written, choose=knows):
        def answer(
            engine, tokenizer, role, asked, limit, heat, seed, rows, told
        ):
            calls.append([(a.text, a.draw, seed) for a in asked])
            assert all(a.image is None for a in asked)
            found = []
            for a in asked:
                number, turn = a.draw
                words = choose(a.text) if turn else write(number)
                found.append(Answer(words, bool(words), -1.0, 5))
            return found

        monkeypatch.setattr(text, "answer", answer)
        return calls

    return scripted


def made(iteration=1, at=0, **fields) -> list[SituationRecord]:
    """Shard `at` of the method's candidates."""
    method = text.TextOnly(bench(**fields))
    return method.candidates(None, None, iteration, at)


def record(number, kept=True, answer=1, **fields) -> SituationRecord:
    given = {
        "number": number,
        "iteration": 1,
        "seed": 0,
        "written": "",
        "situation": SITUATION.format(f"{PLACES[number % 3]} {number}"),
        "question": QUESTION,
        "options": OPTIONS,
        "answer": answer,
        "rationale": RATIONALE,
        "checks": (answer,) * 3,
        "kept": kept,
        "reason": None if kept else kinds.UNSURE,
        "tokens": 9,
        "true": True,
    }
    return SituationRecord(**given | fields)


def select(records, arm="main", budget=None, **fields):
    return text_examples.select(
        records, arm, settings(**fields), bench(), (0, 1), budget
    )


def texts(selection) -> list[tuple[str, str]]:
    """(prompt, reply) of every example."""
    (stage,) = selection.stages
    return [
        (e.trunk[0].text, e.trunk[1].text) for e in stage.examples(None)["text"]
    ]


def named(prompt: str, reply: str) -> str:
    """The option that the reply names."""
    return re.search(rf"{reply[0]} (\w+)", prompt.partition("?")[2])[1]


# Reading ----------------------------------------------------------------------


def test_a_record_is_read_as_it_was_written():
    found = read_written(Instructions(), 4, written())
    assert found == kinds.Written(
        SITUATION.format("top-right"), QUESTION, OPTIONS, 1, RATIONALE
    )


def test_plain_english_is_read_with_its_habits():
    said = (
        "**Situation:** A man smells gas.\nQuestion: What is best?\n"
        "A. Light a match\nB. Open a window\nC. Sleep\nD. Cook\n"
        "**Answer:** B. Open a window\nRationale: A spark would be bad."
    )
    found = read_written(chat_instructions(), 4, said)
    assert found.reason is None and found.answer == 1
    assert found.options[1] == "Open a window"
    assert found.situation == "A man smells gas."


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("a large red circle .", kinds.UNREADABLE),
        (written().replace(" 3 none", ""), kinds.UNREADABLE),
        (written(rationale=""), kinds.UNREADABLE),
        (written().replace("3 none", "3 red"), kinds.EQUAL),
        (written(right="5"), kinds.NO_ANSWER),
        (written(right="maybe"), kinds.NO_ANSWER),
        (written(rationale="because 2 is red"), kinds.NAMES),
    ],
)
def test_what_cannot_be_asked_about_says_why(said, reason):
    assert read_written(Instructions(), 4, said).reason == reason


def test_a_list_that_goes_on_is_unreadable():
    said = (
        "Situation: x\nQuestion: y\nA. a1\nB. b1\nC. c1\nD. d1\nE. e1\n"
        "Answer: B\nRationale: z"
    )
    assert read_written(chat_instructions(), 4, said).reason == kinds.UNREADABLE


# Candidates -------------------------------------------------------------------


def test_an_answer_that_survives_every_order_is_kept(say):
    calls = say()
    found = made()
    assert [r.number for r in found] == [0, 1, 2, 3]
    for r in found:
        assert r.kept and r.reason is None and r.true
        assert r.answer == 1 and r.checks == (1, 1, 1)
        assert r.tokens == 5 * 4
    assert [len(call) for call in calls] == [4, 12]  # two batches to a shard


def test_an_answer_that_changes_with_the_order_is_dropped(say):
    say(choose=lambda prompt: "2 .")  # where it was written to be
    found = made()
    assert not any(r.kept for r in found)
    assert {r.reason for r in found} == {kinds.UNSURE}
    for r in found:
        assert sum(c == 1 for c in r.checks) <= 1


def test_who_names_no_option_does_not_pass(say):
    say(choose=lambda prompt: "circle")
    assert {(r.kept, r.checks) for r in made()} == {(False, (None,) * 3)}


def test_a_false_answer_is_known_to_be_false(say):
    say(write=lambda number: written(number, right="1"))
    assert {r.true for r in made()} == {False}
    say(write=lambda number: written(number).replace(QUESTION, "why ?"))
    assert {r.true for r in made()} == {None}


def test_without_checks_all_that_is_readable_is_kept(say):
    say(choose=None)
    assert all(r.kept and r.checks == () for r in made(checks=0))


def test_words_that_were_cut_or_hold_an_image_are_dropped(say):
    image = written().replace("ring", "<image>")
    words = ["", image, written(), "red"]
    calls = say(write=lambda number: words[number])
    found = made()
    assert [r.reason for r in found] == [
        kinds.UNFINISHED,
        kinds.UNREADABLE,
        None,
        kinds.UNREADABLE,
    ]
    assert found[3].written == "red"
    assert len(calls[1]) == 3  # what cannot be read is not asked about


def test_a_record_is_a_function_of_seed_iteration_and_number(say):
    calls = say()
    whole = made(records=8, shard=8)
    del calls[:]
    again = made()
    assert whole[:4] == again
    first = calls[:]
    del calls[:]
    made()
    assert calls == first
    del calls[:]
    made(iteration=2)
    assert calls != first
    del calls[:]
    assert [r.number for r in made(at=2)] == [8, 9]  # the last is short


def test_instructions_are_drawn_from_the_pool(say):
    calls = say()
    there = bench(records=40, shard=40)
    there.instructions = dataclasses.replace(
        there.instructions, situation=("open :", "question :")
    )
    text.TextOnly(there).candidates(None, None, 1, 0)
    drawn = collections.Counter(prompt for prompt, _, _ in calls[0])
    assert set(drawn) == {"open :", "question :"} and min(drawn.values()) > 8


def test_lengths_that_would_fail_later_fail_at_once():
    with pytest.raises(ValueError, match="config.text.learn.lengths.text=96"):
        text.TextOnly(bench(tokens=90))
    with pytest.raises(ValueError, match="5 options"):
        text.TextOnly(bench(options=5))
    with pytest.raises(ValueError, match="needs 2 or more"):
        text.TextOnly(bench(options=1))


# On disk ----------------------------------------------------------------------


def test_a_record_comes_back_from_disk(say):
    say()
    for r in [*made(), record(1), record(2, kept=False)]:
        assert SituationRecord.from_json(r.to_json()) == r


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"answer": 4, "checks": ()}, "no position among 4"),
        ({"reason": kinds.UNSURE}, "field reason"),
        ({"answer": None, "checks": ()}, "was readable"),
    ],
)
def test_a_record_at_odds_with_itself_is_refused(fields, told):
    with pytest.raises(RecordError, match=told):
        record(0, **fields).to_json()


# Arms -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def records():
    """60 records, of which 40 passed; and two that could not be read."""
    found = [record(i, kept=i % 3 > 0) for i in range(60)]
    lost = dict(options=(), answer=None, checks=(), true=None, kept=False)
    return found + [
        record(60 + i, **lost, reason=kinds.UNREADABLE) for i in range(2)
    ]


def test_main_learns_what_passed_with_every_mark_as_often(records):
    found = select(records)
    assert found.kept == 40 and found.budget == {"kept": 40, "text": 40}
    assert found.figures["marks_learned"] == dict.fromkeys("1234", 10)
    for prompt, reply in texts(found):
        assert named(prompt, reply) == "red"
        assert reply.endswith(f". {RATIONALE}")
    assert len({p.partition("?")[2] for p, _ in texts(found)}) > 12


@pytest.mark.parametrize("count", [1, 2, 7, 41])
def test_no_mark_is_right_more_than_once_more(count):
    found = select([record(i) for i in range(count)])
    counts = found.figures["marks_learned"].values()
    assert sum(counts) == count and max(counts) - min(counts) <= 1


def test_without_balance_marks_fall_as_they_may():
    found = select([record(i) for i in range(400)], balance=False)
    counts = found.figures["marks_learned"].values()
    assert min(counts) > 70 and max(counts) - min(counts) > 1


def test_the_same_situation_and_question_is_learned_once(records):
    twice = [dataclasses.replace(r, number=100 + r.number) for r in records]
    found = select(records + twice)
    assert found.kept == 40 and found.figures["duplicates"] == 40


def test_controls_have_as_many_records_as_main(records):
    main = select(records)
    for arm in ("permuted", "unchecked"):
        assert select(records, arm, main.budget).budget == main.budget
    nothing = select(records, "replay_only", main.budget)
    assert nothing.budget == {"kept": 0, "text": 0}
    assert nothing.stages[0].replay and not main.stages[0].replay


def test_unchecked_takes_what_the_checks_dropped_but_nothing_unreadable(
    records,
):
    assert select(records, "unchecked").kept == 60
    some = select(records, "unchecked", {"kept": 40})
    kept = {prompt.partition("?")[0] for prompt, _ in texts(select(records))}
    also = {prompt.partition("?")[0] for prompt, _ in texts(some)}
    assert len(also) == 40 and also - kept


def test_permuted_answers_are_those_of_other_records():
    others = [record(i, rationale=f"because of {'abcd'[i]}") for i in range(4)]
    main, found = select(others), select(others, "permuted")
    for (prompt, reply), (same, other) in zip(
        texts(main), texts(found), strict=True
    ):
        assert prompt == same  # the same questions, options in the same order
        assert reply.partition(".")[2] != other.partition(".")[2]
    assert sorted(r for _, r in texts(main)) == sorted(
        r for _, r in texts(found)
    )


def test_selecting_again_gives_the_same(records):
    for arm in text_examples.ARMS:
        assert texts(select(records, arm)) == texts(select(records, arm))


def test_figures_say_what_was_kept_and_how_true_it_was(records):
    half = [
        dataclasses.replace(r, true=r.kept or r.number % 2 == 0)
        if r.readable
        else r
        for r in records
    ]
    found = select(half).figures
    assert (found["readable"], found["checked"]) == (60, 40)
    assert found["dropped"] == {kinds.UNREADABLE: 2, kinds.UNSURE: 20}
    assert found["marks_written"] == {"1": 0, "2": 60, "3": 0, "4": 0}
    checks = found["filters"]["checks"]
    assert checks == {
        "kept": 40,
        "of": 62,
        "truth_kept": 100.0,
        "truth_dropped": 50.0,
        "lift": 50.0,
    }


def test_nothing_kept_is_nothing_to_learn_from_and_says_so(caplog):
    method = text.TextOnly(bench())
    lost = [record(i, kept=False) for i in range(3)]
    with caplog.at_level("WARNING"):
        found = method.select(lost, "main", 1, None)
    assert texts(found) == [] and found.kept == 0
    assert "nothing to learn from: of 3 records none" in caplog.text
    assert f"3 {kinds.UNSURE}" in caplog.text
    assert method.select([], "main", 1, None).kept == 0


def test_mark_and_rationale_are_learned_and_nothing_before(records):
    found = select(records)
    (stage,) = found.stages
    tokenizer = word_tokenizer(WORDS)
    for example in stage.examples(None)["text"][:5]:
        encoded = encode(example, tokenizer, 4)
        learned = encoded.weights > 0
        first = int(np.argmax(learned))
        assert not encoded.weights[:first].any() and learned[first:].all()
        said = tokenizer.decode(encoded.tokens[learned])
        assert re.fullmatch(rf"\d \. {RATIONALE}", said)
        assert (encoded.image_slots == -1).all() and not example.images


# Truth of situations ----------------------------------------------------------


TOLD = SITUATION.format("top-right")
FOUR = " , ".join(["a large red circle at the top-left"] * 4)


@pytest.mark.parametrize(
    ("situation", "question", "answer", "true"),
    [
        (TOLD, QUESTION, "red", True),
        (TOLD, QUESTION, "blue", False),
        (
            TOLD,
            "how many objects are there ?",
            "two",
            True,
        ),
        (SITUATION.format("top-left"), QUESTION, "red", None),  # one place
        (TOLD, "is it late ?", "no", None),
        ("a red circle", QUESTION, "red", None),
        ("", QUESTION, "red", None),
        (FOUR, QUESTION, "red", None),
    ],
)
def test_the_world_knows_what_is_true_of_its_situations(
    situation, question, answer, true
):
    assert told_truth(situation, question, answer) is true
