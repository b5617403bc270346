"""The measures: what is asked, and what a number of them stands for."""

import collections

import numpy as np
import pytest

from vlm_games.evaluation import game_success
from vlm_games.evaluation.questions import (
    Item,
    _summary,
    answer_accuracy,
    draw_items,
)
from vlm_games.games.prompts import Prompts
from vlm_games.games.protocol import GameSpec, PlayedGame
from vlm_games.methods.game_figures import variety
from vlm_games.sampling.scoring import Score
from vlm_games.worlds import questions as world
from vlm_games.worlds.scenes import SOURCE, TARGET, sample_scene

YES_NO = {q.kind for q in world.QUESTIONS if q.yes_no}
OPEN = {q.kind for q in world.QUESTIONS if not q.yes_no}


def scenes_of(domain, count: int):
    return [
        sample_scene(np.random.default_rng((11, i)), domain)
        for i in range(count)
    ]


@pytest.fixture(scope="module", params=[SOURCE, TARGET], ids=lambda d: d.name)
def asked(request):
    """(scenes, items) of one of the domains."""
    scenes = scenes_of(request.param, 200)
    return scenes, draw_items(scenes, seed=0)


# Questions --------------------------------------------------------------------


def test_every_question_has_the_one_right_answer_of_its_item(asked):
    scenes, items = asked
    for item in items:
        answers = world.answers(item.question, scenes[item.image])
        assert answers == {item.answer}
        assert item.answer != "none"


def test_yes_and_no_are_asked_for_equally_often(asked):
    _, items = asked
    yes_no = [i.answer == "yes" for i in items if i.question.yes_no]
    assert np.mean(yes_no) == pytest.approx(0.5, abs=0.03)


def test_every_kind_is_asked_and_every_scene(asked):
    scenes, items = asked
    kinds = collections.Counter(i.question.kind for i in items)
    assert kinds.keys() == YES_NO | OPEN
    assert {i.image for i in items} == set(range(len(scenes)))
    per_scene = collections.Counter((i.image, i.question.kind) for i in items)
    assert set(per_scene.values()) == {1}
    open_ones = collections.Counter(
        i.image for i in items if not i.question.yes_no
    )
    assert max(open_ones.values()) == 4


def test_items_of_a_scene_do_not_depend_on_the_other_scenes():
    scenes = scenes_of(TARGET, 12)
    few = draw_items(scenes[:5], seed=3)
    many = draw_items(scenes, seed=3)
    assert few == [item for item in many if item.image < 5]
    assert draw_items(scenes, seed=4) != many


# Accuracy ---------------------------------------------------------------------


def item(kind: str, yes_no: bool, answer: str) -> Item:
    return Item(0, world.Question(f"{kind} ?", kind, yes_no, ()), answer)


def test_yes_no_accuracy_is_the_mean_over_the_two_answers():
    items = [
        # Three of four yes, one of two no.
        *[item("color", True, "yes")] * 4,
        *[item("shape", True, "no")] * 2,
        *[item("how_many", False, "two")] * 5,
    ]
    right = np.array([1, 1, 1, 0, 1, 0, 1, 0, 0, 0, 0], float)
    assert _summary(items, right) == {
        "yes_no": pytest.approx((75 + 50) / 2),
        "yes": pytest.approx(75),
        "no": pytest.approx(50),
        "other": pytest.approx(20),
        "kinds": {
            "color": pytest.approx(75),
            "shape": pytest.approx(50),
            "how_many": pytest.approx(20),
        },
    }


def test_what_was_not_asked_has_no_accuracy():
    found = _summary([item("color", True, "yes")], np.ones(1))
    assert found["no"] is None and found["other"] is None
    assert found["yes_no"] == 100


class Habit:
    """A scorer of a model that says one word, whatever it is asked."""

    def __init__(self, word: str, probability: float = 1.0):
        self.word, self.probability = word, probability

    def score(self, params, image_tokens, examples):
        other = np.log(max(1 - self.probability, 1e-9))
        return [
            tuple(
                Score(np.log(self.probability), True)
                if answered.text == self.word
                else Score(other, False)
                for _, answered in example.branches
            )
            for example in examples
        ]


@pytest.mark.parametrize("word", ["yes", "no"])
def test_a_model_that_always_says_the_same_scores_50(asked, word):
    _, items = asked
    found = answer_accuracy(Habit(word), Prompts(), None, None, items)
    assert found["yes_no"] == 50
    assert (found["yes"], found["no"]) == (
        (100, 0) if word == "yes" else (0, 100)
    )
    assert found["other"] == 0
    for kind in YES_NO:
        assert found["kinds"][kind] == 50


def test_sampled_accuracy_is_the_probability_of_the_right_answer(asked):
    _, items = asked
    scorer = Habit("yes", probability=0.7)
    found = answer_accuracy(scorer, Prompts(), None, None, items)
    assert found["yes_no"] == 50
    # 0.7 where yes is right and 0.3 where no is.
    assert found["sampled_yes_no"] == pytest.approx(50)
    assert found["sampled_other"] == pytest.approx(30)


class Expert:
    """A scorer of a model that is right about one kind, in any order asked."""

    def __init__(self, kind: str):
        self.kind = kind

    def score(self, params, image_tokens, examples):
        return [
            tuple(self._score(asked.text) for asked, _ in e.branches)
            for e in examples
        ]

    def _score(self, text: str):
        words = text.strip().removeprefix("question : ")
        words = words.removesuffix(" answer :")
        right = world.BY_TEXT[words].kind == self.kind
        return Score(0.0 if right else -99.0, right)


def test_each_score_goes_to_its_own_question(asked):
    _, items = asked
    order = np.random.default_rng(0).permutation(len(items))
    mixed = [items[i] for i in order]
    found = answer_accuracy(Expert("relation"), Prompts(), None, None, mixed)
    expected = {kind: 100 * (kind == "relation") for kind in YES_NO | OPEN}
    assert found["kinds"] == expected


# Games ------------------------------------------------------------------------


def test_held_out_games_are_the_same_for_every_model():
    first, again = (
        game_success.held_out_specs(20, 4, 50, seed=1) for _ in range(2)
    )
    assert first == again
    assert first != game_success.held_out_specs(20, 4, 50, seed=2)
    assert [s.game for s in first] == list(range(20))


def test_an_aborted_game_counts_as_lost():
    spec = GameSpec(0, (1, 2), target=1)
    games = [
        PlayedGame(spec, (), "", 1, None),
        PlayedGame(spec, (), "", 0, None),
        PlayedGame(spec, (), "", None, "empty answer"),
        PlayedGame(spec, (), "", 1, "asked instead of guessing"),
    ]
    assert game_success.success_rate(games) == 25


def test_talk_is_measured_by_its_variety():
    asked = ["is it red ?", "is it red ?", "is it red ?", "where ?"]
    found = variety(asked, ["yes", "no", "yes", "no"])
    assert found["distinct_questions"] == 50
    assert found["answer_entropy"] == pytest.approx(1)
    assert found["question_length"] == pytest.approx((3 * 4 + 2) / 4)
    assert variety([], []) == {}
