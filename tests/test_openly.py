"""Leading questions put openly: what holds, and what is learned then."""

import dataclasses
import types

import ml_collections
import pytest
from toy_games import PROMPTS, make_bench, played, select

from vlm_games import choices, command_line, replay
from vlm_games.data.examples import Example, read, said
from vlm_games.data.images import RenderedSource
from vlm_games.data.records import Openly
from vlm_games.games import openly
from vlm_games.games.answer import Answer
from vlm_games.games.chat_prompts import chat_prompts
from vlm_games.games.openly import Leading, ask_openly, put_openly
from vlm_games.methods.dialog_games import DialogGames
from vlm_games.report import gallery
from vlm_games.report.words import FILTERS
from vlm_games.worlds import questions as world

YES_NO = [q for q in world.QUESTIONS if q.yes_no]
RING = "is there a ring at the top-left ?"
SHAPE = "what shape is the object at the top-left ?"


@pytest.mark.parametrize("domain", ["source/test", "target/test"])
def test_a_yes_is_true_just_where_the_open_answer_has_its_word(domain):
    scenes = RenderedSource(domain, 40, 16).scenes
    seen = set()
    for question in YES_NO:
        put = put_openly(question.text, PROMPTS.openly)
        if put is None:
            continue
        asked, word = put
        seen.add(question.kind)
        for scene in scenes:
            right = word in world.answers(world.BY_TEXT[asked], scene)
            assert world.answers(question, scene) == {"yes" if right else "no"}
    assert seen == {"color_place", "shape_place", "count"}


@pytest.mark.parametrize(
    "question",
    ["is there a red object ?", "what color is the ring ?", "are there two ?"],
)
def test_other_questions_have_no_open_form(question):
    assert put_openly(question, PROMPTS.openly) is None


def test_the_first_form_that_fits_is_taken():
    forms = (
        ("is it {a} ?", "what is it ?", "{a}"),
        ("is it {b} ?", "what else ?", "{b}"),
        ("(is) it {a}.", "what is it.", "a {a} one"),
    )
    assert put_openly("Is it red ?", forms) == ("what is it ?", "red")
    assert put_openly("is it dark red ?", forms) is None  # a field is a word
    # What a template has beside its fields stands for itself.
    assert put_openly("(is) it red.", forms) == ("what is it.", "a red one")
    assert put_openly("is it red.", forms) is None


@pytest.mark.parametrize(
    "form",
    [
        ("is it {a} ?", "what is it ?"),
        ("is it {a} ?", "what {b} is it ?", "{a}"),
        ("is it {a} ?", "what is it ?", "{}"),
        ("is it {a} or {a} ?", "what is it ?", "{a}"),
        ("is it {1a} ?", "what is it ?", "red"),
        (1, 2, 3),
        ("is it {a} ?", 2, "{a}"),
        "is it {a} ?",
    ],
)
def test_a_form_that_is_none_is_told_before_a_run(form):
    config = command_line.load_config("scenes")
    forms = (("is it {a} ?", "what is it ?", "{a}"), form)
    config.prompts = ml_collections.ConfigDict({"openly": forms})
    with pytest.raises(ValueError, match=r"config\.prompts\.openly has"):
        choices.check(config)


def test_models_that_chat_have_no_forms_but_those_of_a_config():
    prompts = chat_prompts("", "", "", "", "", "", "<image>")
    assert prompts.openly == ()


@pytest.fixture
def heard(monkeypatch):
    """A model that says "ring" to all; the prompts that it was given."""
    asked = []

    def fake(engine, tokenizer, role, prompts, limit, **more):
        asked.extend(prompts)
        return [Answer("ring", p.image != 99, -1.0, 1) for p in prompts]

    monkeypatch.setattr(openly, "answer", fake)
    return asked


def ask(*leading):
    return ask_openly(None, None, PROMPTS, None, leading, 4)


@pytest.mark.parametrize(
    ("question", "said", "holds"),
    [
        (RING, "yes", True),
        (RING, "no", False),
        (RING.replace("ring", "cross"), "yes", False),
        (RING.replace("ring", "cross"), "no", True),
    ],
)
def test_an_answer_holds_if_the_open_one_agrees(heard, question, said, holds):
    (found,) = ask(Leading(1, question, said))
    assert found == Openly(SHAPE, "ring", holds)
    (prompt,) = heard
    assert prompt.text == PROMPTS.ask_describer(SHAPE) and prompt.image == 1


def test_what_cannot_be_put_openly_is_not_asked(heard):
    found = ask(
        Leading(1, "is there a ring ?", "yes"),
        Leading(2, RING, "maybe"),
        Leading(99, RING, "yes"),  # asked, but the answer comes to no end
        Leading(3, RING, "yes"),
    )
    assert found[:3] == [None] * 3 and found[3].holds
    assert [p.image for p in heard] == [99, 3]


def asking(question):
    """A bench whose games ask one question, twice; answered yes, and red."""
    bench = make_bench(openly=True)
    play = bench.table.play

    def other(*arguments):
        for game in play(*arguments):
            first, second = game.exchanges
            turns = (dataclasses.replace(first, question=question), second)
            yield dataclasses.replace(game, exchanges=turns)

    bench.table = types.SimpleNamespace(
        settings=bench.table.settings, play=other
    )
    return bench


@pytest.mark.parametrize("word", ["ring", "cross"])
def test_answers_that_do_not_hold_are_not_learned(heard, word):
    bench = asking(RING.replace("ring", word))
    _, records = played(bench)
    complete = [r for r in records if r.outcome != "aborted"]
    for record in records:
        told = Openly(SHAPE, "ring", word == "ring")
        first = told if record in complete else None
        assert [t.openly for t in record.turns] == [first, None]
    assert [p.image for p in heard] == [r.images[r.target] for r in complete]
    (stage,) = select(records, "main", bench).stages
    learned = [
        branch[1].text
        for example in stage.examples(None)["describer"]
        for branch in example.branches
    ]
    assert learned.count("red") == len(complete)
    assert learned.count("yes") == (len(complete) if word == "ring" else 0)


def test_the_filter_is_told_of_with_its_truth(heard):
    bench = asking(RING.replace("ring", "cross"))
    _, records = played(bench)
    found = select(records, "main", bench).figures["filters"]
    complete = sum(r.outcome != "aborted" for r in records)
    row = found["openly (answers)"]
    assert (row["kept"], row["of"]) == (complete, 2 * complete)
    assert "openly (answers)" in FILTERS


def test_nothing_is_put_openly_if_nobody_asks(heard):
    bench = asking(RING)
    bench.config.game.openly = False
    _, records = played(bench)
    assert not heard
    found = select(records, "main", bench).figures["filters"]
    assert "openly (answers)" not in found


def test_words_put_openly_are_counted(heard):
    bench = asking(RING)
    method, (_, records) = DialogGames(bench), played(bench)
    for record in records:
        turns = tuple(dataclasses.replace(t, openly=None) for t in record.turns)
        plain = dataclasses.replace(record, turns=turns)
        more = method.tokens_said(record) - method.tokens_said(plain)
        assert more == (0 if record.outcome == "aborted" else 2)


def test_the_report_shows_what_was_said_openly(heard):
    _, (record, *_) = played(asking(RING.replace("ring", "cross")))
    note = gallery._answer_note(dataclasses.asdict(record.turns[0]))
    assert note.endswith(f"put openly: {SHAPE} ring, so it does not hold")


def test_replay_goes_by_the_open_answer(heard):
    """The base says yes to all that leads, and openly that it is a ring."""
    questions = (RING, RING.replace("ring", "cross"), "is there a ring ?")
    bench = types.SimpleNamespace(prompts=PROMPTS, engine=None, tokenizer=None)

    def right(*answers):
        leading = [
            Leading(image, *one)
            for image, one in enumerate(zip(questions, answers, strict=True))
        ]
        return replay.put_right(bench, None, leading, 4)

    assert right("yes", "yes", "yes") == ["yes", "no", "yes"]
    assert right("no", "no", "") == ["yes", "no", ""]


def test_rows_of_replay_take_the_base_at_its_open_word(heard, monkeypatch):
    def answer(engine, tokenizer, role, prompts, limit):
        return [Answer("yes", True, -1.0, 1) for _ in prompts]

    monkeypatch.setattr(replay, "answer", answer)
    bench = make_bench()
    branch = (
        read(PROMPTS.question_only(RING.replace("ring", "cross"))),
        said("yes"),
        said(PROMPTS.end, 0.1),
    )
    row = Example((0,), (read(PROMPTS.describer_trunk()),), (branch,))
    words = {}
    for kind in ("own", "openly"):
        bench.config.train = types.SimpleNamespace(replay_answers=kind)
        run = types.SimpleNamespace(
            bench=bench,
            config=bench.config,
            setup=types.SimpleNamespace(base_params=None),
        )
        (again,) = replay.answer_again(run, [row], bench.images)
        words[kind] = again.branches[0][1].text
    assert words == {"own": "yes", "openly": "no"}
