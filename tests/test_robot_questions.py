"""What is asked of frames, what is true of them, and rows of both."""

import json
import types

import numpy as np
import pytest

from vlm_games.command_line import load_config
from vlm_games.games.prompts import Prompts
from vlm_games.pretraining import examples
from vlm_games.pretraining.frames import SUBJECTS, Frames
from vlm_games.replay import frame_rows
from vlm_games.robot import questions as robot
from vlm_games.robot.facts import Facts
from vlm_games.robot.tasks import TASKS

AT = {"left": (-0.2, 0.5, 0.2), "right": (0.2, 0.5, 0.2)}


def cube(*hands: str, x: float = 0.0) -> Facts:
    lying = () if hands else ("cube",)
    return Facts({"cube": hands}, lying, False, {"cube": (x, 0.5, 0.1), **AT})


def peg(inside: bool) -> Facts:
    held = {"peg": ("right",), "socket": ("left",)}
    places = {"peg": (0.06, 0.5, 0.1), "socket": (-0.06, 0.5, 0.1), **AT}
    return Facts(held, (), inside, places)


def ask(text: str, facts: Facts) -> str:
    (answer,) = robot.answers(robot.BY_TEXT[text], facts)
    return answer


@pytest.mark.parametrize(
    ("text", "facts", "answer"),
    [
        ("does the left hand hold the cube ?", cube("left"), "yes"),
        ("does the left hand hold the cube ?", cube("right"), "no"),
        ("does the right hand hold the cube ?", cube("left", "right"), "yes"),
        ("is the cube on the table ?", cube(), "yes"),
        ("is the cube on the table ?", cube("left"), "no"),
        ("what holds the cube ?", cube("right"), "right"),
        ("what holds the cube ?", cube("left", "right"), "both"),
        ("what holds the cube ?", cube(), "none"),
        ("where is the cube ?", cube(x=-0.051), "left"),
        ("where is the cube ?", cube(x=0.049), "middle"),
        ("is the cube at the right ?", cube(x=0.051), "yes"),
        ("where is the left hand ?", cube(), "left"),
        ("is the peg in the socket ?", peg(True), "yes"),
        ("is the peg in the socket ?", peg(False), "no"),
        ("what holds the socket ?", peg(False), "left"),
    ],
)
def test_answers_follow_the_state(text, facts, answer):
    assert ask(text, facts) == answer


def test_the_question_of_success_is_one_of_its_tasks():
    for name, task in TASKS.items():
        assert task.question in {q.text for q in robot.QUESTIONS[name]}


def test_a_caption_says_who_holds_what_and_where():
    assert robot.caption(cube("left", x=-0.1)) == (
        "cube in the left hand at the left ."
    )
    assert robot.caption(peg(True)) == (
        "peg in the right hand at the right , "
        "socket in the left hand at the left , peg in the socket ."
    )


def test_facts_survive_json():
    for facts in (cube("left", x=-0.1), peg(True)):
        fields = json.loads(json.dumps(facts.to_dict()))
        assert Facts.from_dict(fields) == facts


@pytest.fixture
def frames():
    facts = [cube("left"), cube("right"), cube(), cube("left", x=-0.1)] * 3
    facts += [peg(True), peg(False)] * 4
    tasks = ["transfer_cube"] * 12 + ["insertion"] * 8
    last = np.arange(20) % 3 == 2
    return Frames(np.zeros((20, 8, 8, 3)), tuple(facts), tuple(tasks), last)


def test_frames_of_a_row_are_different_and_of_one_task(frames):
    rng = np.random.default_rng(0)
    for _ in range(40):
        drawn = frames.draw(rng, 4, last=0.3)
        assert len(set(drawn)) == 4
        assert len({frames.tasks[i] for i in drawn}) == 1
    ends = [frames.draw(rng, 1, last=1.0)[0] for _ in range(40)]
    assert frames.last[ends].all()


def test_rows_of_frames_speak_the_words_of_frames_and_tell_the_truth(frames):
    rng, prompts = np.random.default_rng(0), Prompts()
    recipe = examples.Recipe(agree=0.0, describe=1.0)
    known = {*robot.VOCABULARY, "<eos>", *"1234"}
    known |= {"ask", "guess", "summary", "last", ":", "answer", "question"}
    for _ in range(40):
        ids = frames.draw(rng, 4, last=0.5)
        facts, task = [frames.facts[i] for i in ids], frames.tasks[ids[0]]
        row = examples.answer_row(
            rng, prompts, recipe, facts[0], ids[0], SUBJECTS[task]
        )
        described, *asked = row.branches
        assert described[1].text == f"{robot.caption(facts[0])} <eos>"
        for question, answer, _ in asked:
            text = question.text.partition("question : ")[2]
            text = text.partition(" answer")[0]
            assert ask(text, facts[0]) == answer.text
        for make in (examples.game_row, examples.probe_row):
            row = make(rng, prompts, recipe, facts, ids, SUBJECTS[task])
            pieces = [*row.trunk[1:], *(p for b in row.branches for p in b)]
            words = {w for p in pieces for w in p.text.split()}
            assert words <= known


@pytest.mark.parametrize("count", [1, 4])
def test_frames_are_replayed_behind_the_scenes(frames, count):
    config = load_config("scenes")
    run = types.SimpleNamespace(
        config=config, bench=types.SimpleNamespace(prompts=Prompts())
    )
    maker = examples.answer_row if count == 1 else examples.probe_row
    rows = frame_rows(run, frames, 100, count, (maker,))
    assert len(rows) == len(frames.tasks) // count
    for row in rows:
        assert len(row.images) == count
        assert min(row.images) >= 100 and max(row.images) < 120
        assert len({frames.tasks[i - 100] for i in row.images}) == 1
    assert frame_rows(run, frames, 100, count, (maker,)) == rows
