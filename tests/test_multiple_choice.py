"""Multiple choice: shuffled options, the mark that is read, what is scored."""

import collections
import dataclasses

import jax
import numpy as np
import pytest

from vlm_games.evaluation import choices, speaker
from vlm_games.evaluation.choices import Choice, draw_choices
from vlm_games.evaluation.speaker import Speaker
from vlm_games.games.answer import Answer
from vlm_games.games.instructions import Instructions, chat_instructions
from vlm_games.games.play import Role
from vlm_games.games.prompts import Prompts
from vlm_games.models.mesh import make_mesh, place
from vlm_games.sampling.engine import Engine
from vlm_games.worlds import questions as world
from vlm_games.worlds.splits import load_split

ITEM = Choice(3, "what next ?", ("run", "hide", "wait", "call"), 1)
LETTERS = ("A", "B", "C", "D")


@pytest.fixture(scope="module")
def scenes():
    return load_split("target/validation", 150)[0]


# Shuffling --------------------------------------------------------------------


def test_the_right_option_moves_with_its_words():
    for number in range(50):
        found = choices.shuffle(ITEM, 0, number)
        assert found.options[found.right] == "hide"
        assert sorted(found.options) == sorted(ITEM.options)


def test_an_order_depends_on_seed_and_item_alone():
    orders = [choices.shuffle(ITEM, 0, n) for n in range(20)]
    assert orders == [choices.shuffle(ITEM, 0, n) for n in range(20)]
    assert orders != [choices.shuffle(ITEM, 1, n) for n in range(20)]
    assert len(set(orders)) > 10


def test_every_mark_is_right_equally_often():
    marks = [choices.shuffle(ITEM, 0, n).right for n in range(4_000)]
    shares = np.bincount(marks) / len(marks)
    np.testing.assert_allclose(shares, 0.25, atol=0.03)


def test_an_item_without_an_answer_still_has_none_when_shuffled():
    unknown = dataclasses.replace(ITEM, right=None)
    assert choices.shuffle(unknown, 0, 0).right is None


# Scores -----------------------------------------------------------------------


def test_no_legal_mark_is_wrong_and_no_known_answer_is_not_scored():
    unknown = dataclasses.replace(ITEM, right=None)
    items = [ITEM, ITEM, ITEM, ITEM, unknown, unknown]
    assert choices.score([1, 1, 2, None, 1, None], items) == {
        "choice": 50.0,
        "choice_unparsed": 1,
        "choice_unscored": 2,
    }
    assert choices.score([1], [unknown])["choice"] is None
    assert choices.score([], [])["choice"] is None


# The shipped world ------------------------------------------------------------


def test_exactly_one_option_of_an_item_is_right(scenes):
    items = draw_choices(scenes, 0)
    for item in items:
        question = world.BY_TEXT[item.question]
        right = world.answers(question, scenes[item.image])
        assert [option in right for option in item.options] == [
            i == item.right for i in range(4)
        ]
        assert len(set(item.options)) == 4
        assert "none" not in item.options
    per_scene = collections.Counter(item.image for item in items)
    assert max(per_scene.values()) == 2
    assert len(items) > 1.9 * len(scenes)


def test_a_wrong_option_could_answer_the_question(scenes):
    """Options are of one category: the words do not give the answer away."""
    for item in draw_choices(scenes, 0):
        question = world.BY_TEXT[item.question]
        wrong = world.wrong_answers(question, scenes[item.image])
        assert set(item.options[1:]) <= set(wrong)


def test_items_of_a_scene_do_not_depend_on_those_that_follow(scenes):
    few = draw_choices(scenes[:5], 3)
    assert few == draw_choices(scenes[:20], 3)[: len(few)]
    assert draw_choices(scenes[:5], 4) != few


# Asking -----------------------------------------------------------------------


def test_options_are_listed_behind_marks_on_the_image_or_in_words():
    prompts, spoken = Prompts(), Instructions()
    seen = choices.ask(prompts, spoken, ITEM)
    assert (seen.image, seen.text) == (
        3,
        "<image> question : what next ? 1 run 2 hide 3 wait 4 call answer :",
    )
    told = choices.ask(prompts, spoken, ITEM, "a fire .")
    assert (told.image, told.text) == (
        None,
        "describe : a fire . question : what next ? "
        "1 run 2 hide 3 wait 4 call answer :",
    )
    five = dataclasses.replace(ITEM, options=("a", "b", "c", "d", "e"))
    assert "E. e" in choices.ask(prompts, chat_instructions(), five).text
    with pytest.raises(ValueError, match="5 options"):
        choices.ask(prompts, spoken, five)


def saying(monkeypatch, words):
    """Replaces the model: `words` gets each prompt's text."""

    def answer(engine, tokenizer, role, asked, limit, rows):
        return [Answer(words(x.text), True, 0.0, 1) for x in asked]

    monkeypatch.setattr(speaker, "answer", answer)


def test_a_model_that_always_names_the_same_mark_is_right_by_chance(
    monkeypatch, scenes
):
    saying(monkeypatch, lambda text: "2 .")
    items = draw_choices(scenes, 0)
    found = choices.choice_accuracy(
        Speaker(None, None, Prompts(), Instructions()), None, items, 0
    )
    assert found["choice"] == pytest.approx(25, abs=6)
    assert found["choice_unparsed"] == 0


def test_a_model_that_finds_the_right_words_is_always_right(monkeypatch):
    def words(text: str) -> str:
        listed = text.split("? ")[1].split()
        return listed[listed.index("hide") - 1]

    saying(monkeypatch, words)
    found = choices.choice_accuracy(
        Speaker(None, None, Prompts(), Instructions()), None, [ITEM] * 20, 0
    )
    assert found["choice"] == 100


@pytest.mark.slow
@pytest.mark.usefixtures("quick_compiles")
def test_the_shipped_bases_choose_on_images_and_in_words(base, scenes):
    config, params, tokenizer = base
    mesh = make_mesh(jax.devices()[:1])
    engine, there = Engine(config, mesh), place(mesh, params)
    pixels = load_split("target/validation", 8)[1]
    role = Role(there, engine.encode(there, pixels))
    items = draw_choices(scenes[:8], 0)
    spoken_to = Speaker(engine, tokenizer, Prompts(), Instructions())
    told = [world.caption(scenes[x.image]) for x in items]
    for situations in (None, told):
        found = choices.choice_accuracy(spoken_to, role, items, 0, situations)
        assert 0 <= found["choice"] <= 100
        assert found["choice_unscored"] == 0
