"""Describe, then answer: what is put before questions, and what is measured."""

import types

import numpy as np
import pytest

from vlm_games.data.images import RenderedSource
from vlm_games.evaluation import descriptions, measure, speaker
from vlm_games.evaluation.questions import answer_accuracy, draw_items
from vlm_games.evaluation.speaker import Speaker
from vlm_games.games.answer import Answer
from vlm_games.games.instructions import Instructions
from vlm_games.games.play import Role
from vlm_games.games.prompts import Prompts
from vlm_games.sampling.scoring import Score
from vlm_games.worlds import questions as world

SCENES = 12


@pytest.fixture(scope="module")
def target():
    return RenderedSource("target/validation", SCENES)


@pytest.fixture
def asked(monkeypatch):
    """What is asked of a model that says a caption's number for each image."""
    seen = []

    def answer(engine, tokenizer, role, prompts, limit, rows):
        assert rows == 5  # as the speaker has it
        seen.extend((x.image, x.text, limit) for x in prompts)
        return [Answer(f"of {x.image}", True, 0.0, 1) for x in prompts]

    monkeypatch.setattr(speaker, "answer", answer)
    return seen


class Reader:
    """A scorer that is right where the text says of which image it is."""

    def __init__(self):
        self.texts = []

    def score(self, params, image_tokens, examples):
        found = []
        for example in examples:
            (trunk,) = example.trunk
            self.texts.append(trunk.text)
            right = trunk.text.endswith(f"of {example.images[0]}")
            found.append(tuple(Score(-1.0, right) for _ in example.branches))
        return found


# Figures ----------------------------------------------------------------------


def test_captions_are_all_true_and_leave_nothing_out(target):
    texts = [world.caption(scene) for scene in target.scenes]
    assert descriptions.description_figures(texts, target.scenes) == {
        "description_truth": 100.0,
        "description_recall": 100.0,
    }


def test_truth_is_of_what_is_said_and_recall_of_what_is_there(target):
    scene = next(s for s in target.scenes if len(s.objects) == 3)
    first, second, _ = map(world.phrase, scene.objects)
    for text, truth, recall in [
        (first, 100, 100 / 3),
        (f"{first} , {first} .", 100, 100 / 3),  # once more is not one more
        (f"{first} , a ring , {second} .", 200 / 3, 200 / 3),
        ("a ring .", 0, 0),
        ("", None, 0),
    ]:
        found = descriptions.description_figures([text], [scene])
        assert found["description_truth"] == pytest.approx(truth)
        assert found["description_recall"] == pytest.approx(recall)


def spoken_to(engine):
    return Speaker(engine, None, Prompts(), Instructions(), rows=5)


# Questions --------------------------------------------------------------------


def test_each_image_is_described_once_by_the_plain_instruction(asked):
    texts = descriptions.describe(spoken_to(None), None, 3, 17)
    assert texts == ["of 0", "of 1", "of 2"]
    assert asked == [(i, "<image> describe :", 17) for i in range(3)]


def test_words_before_a_question_are_those_of_its_own_image(target):
    items, scorer = draw_items(target.scenes, 0), Reader()
    before = {image: f" describe : of {image}" for image in range(SCENES)}
    found = answer_accuracy(scorer, Prompts(), None, None, items, before)
    assert found["yes_no"] == found["other"] == 100
    assert scorer.texts[5] == "<image> describe : of 5"
    answer_accuracy(scorer, Prompts(), None, None, items)
    assert set(scorer.texts[SCENES:]) == {"<image>"}


# In the measure ---------------------------------------------------------------


def take(monkeypatch, target, **fields) -> tuple[dict, Reader]:
    """The measure without its games, of the model above; and its scorer."""
    monkeypatch.setattr(measure, "measure_games", lambda *args: {})
    config = types.SimpleNamespace(
        games=2,
        seed=0,
        guard_games=0,
        description_tokens=9,
        robot="",
        robot_source="",
        **fields,
    )
    engine = types.SimpleNamespace(encode=lambda params, pixels: None)
    scorer = Reader()
    metrics = measure.measure(
        speaker=spoken_to(engine),
        scorer=scorer,
        table=None,
        params=None,
        base_params=None,
        held_out=measure.hold_out(target, target, target, config, 4),
    )
    return metrics, scorer


def test_own_descriptions_stand_before_the_targets_questions(
    monkeypatch, target, asked
):
    metrics, scorer = take(monkeypatch, target, choices=False, described=True)
    assert metrics["vqa_yes_no"] == metrics["vqa_other"] == 0
    assert metrics["vqa_described_yes_no"] == 100
    assert metrics["vqa_described_other"] == 100
    assert metrics["description_truth"] == 0
    assert metrics["description_recall"] == 0
    assert "vqa_choice" not in metrics
    assert scorer.texts[-1] == f"<image> describe : of {SCENES - 1}"
    assert asked[0][2] == 9


def test_neither_is_measured_unless_the_config_says_so(
    monkeypatch, target, asked
):
    metrics, scorer = take(monkeypatch, target, choices=False, described=False)
    assert not asked
    assert len(scorer.texts) == 2 * SCENES
    assert not {x for x in metrics if "desc" in x or "choice" in x}


def test_the_measure_says_on_how_many_images_games_were(
    monkeypatch, target, asked
):
    metrics, _ = take(monkeypatch, target, choices=False, described=False)
    assert 4 <= metrics["game_images"] <= SCENES


def test_choices_are_measured_on_the_target(monkeypatch, target):
    seen = []

    def choice_accuracy(*args):
        *_, role, items, seed = args
        seen.append((role, items, seed))
        return {"choice": 30.0, "choice_unparsed": 1, "choice_unscored": 0}

    monkeypatch.setattr(measure, "choice_accuracy", choice_accuracy)
    metrics, _ = take(monkeypatch, target, choices=True, described=False)
    assert metrics["vqa_choice"] == 30
    assert metrics["choice_unparsed"] == 1
    assert metrics["choice_unscored"] == 0
    ((role, items, seed),) = seen
    assert isinstance(role, Role) and seed == 0
    assert np.all(np.unique([x.image for x in items]) == np.arange(SCENES))
