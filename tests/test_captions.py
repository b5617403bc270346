"""Captions: what is said, what an answer rests on, and what is true."""

import numpy as np
import pytest

from vlm_games.worlds import questions as world
from vlm_games.worlds.scenes import Scene, SceneObject
from vlm_games.worlds.splits import load_split

RED, BLUE = "a large red circle", "a small blue ring"
TRUE = f"{RED} at the top-left , {BLUE} at the bottom-right ."


def thing(words: str) -> SceneObject:
    size, color, shape, place = words.split()
    return SceneObject(shape, color, size, place, 0.0, 0.0)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(
        (
            thing("large red circle top-left"),
            thing("small blue ring bottom-right"),
        )
    )


@pytest.fixture(scope="module")
def scenes():
    return load_split("target/validation", 60)[0]


# What is true -----------------------------------------------------------------


def test_a_caption_is_true_of_its_own_scene_alone(scenes):
    for scene in scenes:
        truths = world.phrase_truths(world.caption(scene), scene)
        assert truths == [True] * len(scene.objects)
    first, second = scenes[0], scenes[1]
    assert not all(world.phrase_truths(world.caption(first), second))


@pytest.mark.parametrize(
    ("text", "truths"),
    [
        (TRUE, [True, True]),
        (TRUE.replace(".", ""), [True, True]),  # cut off before its end
        (f"{BLUE} at the bottom-right .", [True]),
        (f"{BLUE} at the bottom-right , {RED} at the top-left", [True, True]),
        # One wrong word of four is an untrue thing.
        (TRUE.replace("small", "large"), [True, False]),
        (TRUE.replace("blue", "red"), [True, False]),
        (TRUE.replace("ring", "cross"), [True, False]),
        (TRUE.replace("bottom-right", "top-right"), [True, False]),
        (f"{RED} at the top-left , {RED} at the", [True, False]),
        ("a ring", [False]),
        ("yes", [False]),
        ("", []),
        (" , . ", []),
    ],
)
def test_each_thing_said_is_judged_by_all_its_words(scene, text, truths):
    assert world.phrase_truths(text, scene) == truths


# What an answer rests on ------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "answer", "grounds"),
    [
        ("what color is the ring ?", "blue", f"{BLUE} at the bottom-right"),
        ("what color is the ring ?", "red", "none"),  # untrue, so groundless
        ("what color is the cross ?", "none", "none"),
        ("where is the red object ?", "top-left", f"{RED} at the top-left"),
        ("is there a red circle ?", "yes", f"{RED} at the top-left"),
        ("is there a red ring ?", "no", "none"),
        ("how many objects are there ?", "two", TRUE.removesuffix(" .")),
        ("is there one object ?", "no", TRUE.removesuffix(" .")),
        (
            "is there a red object above a blue object ?",
            "yes",
            TRUE.removesuffix(" ."),
        ),
        ("is there a blue object above a red object ?", "no", "none"),
    ],
)
def test_an_answer_rests_on_the_phrases_that_show_it(
    scene, question, answer, grounds
):
    asked = world.BY_TEXT[question]
    assert world.grounds(asked, answer, scene) == grounds


def test_grounds_show_their_answer(scenes):
    for scene in scenes:
        for question in world.QUESTIONS:
            for answer in world.answers(question, scene):
                grounds = world.grounds(question, answer, scene)
                if grounds == "none":
                    assert answer in ("no", "none")
                    continue
                assert all(world.phrase_truths(grounds, scene))
                # What was named alone gives the same answer.
                named = set(world.things_said(grounds))
                alone = Scene(
                    tuple(o for o in scene.objects if world.phrase(o) in named)
                )
                assert answer in world.answers(question, alone)


def test_wrong_answers_are_all_the_others_of_the_same_category(scenes):
    sizes = set()
    for scene in scenes:
        for question in world.QUESTIONS:
            wrong = set(world.wrong_answers(question, scene))
            right = world.answers(question, scene)
            assert not wrong & right
            assert "none" not in wrong
            if question.yes_no:
                assert wrong | right == {"yes", "no"}
            sizes.add(len(wrong | right - {"none"}))
    assert np.all(sorted(sizes) == np.arange(2, 7))


def test_either_of_two_alike_is_no_wrong_answer():
    twice = Scene(
        (
            thing("large red circle top-left"),
            thing("small blue circle top-right"),
        )
    )
    asked = world.BY_TEXT["what color is the circle ?"]
    assert not {"red", "blue"} & set(world.wrong_answers(asked, twice))
    grounds = world.grounds(asked, "blue", twice)
    assert grounds == "a small blue circle at the top-right"
