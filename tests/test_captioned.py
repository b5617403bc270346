"""Own descriptions in the image's place: text in, text out."""

import pytest

from vlm_games.evaluation import speaker
from vlm_games.evaluation.captioned import captioned_accuracy
from vlm_games.evaluation.choices import Choice
from vlm_games.evaluation.speaker import Speaker
from vlm_games.games.answer import Answer
from vlm_games.games.instructions import Instructions
from vlm_games.games.prompts import Prompts

COLORS = ("red", "green", "blue", "orange")
ITEMS = [
    Choice(
        image,
        "what color is the ring ?",
        (COLORS[image % 4], *(c for c in COLORS if c != COLORS[image % 4])),
        0 if image < 5 else None,
    )
    for image in range(6)
]


@pytest.fixture
def model(monkeypatch):
    """Reads the color, and its mark, off a description."""
    asked = []

    def answer(engine, tokenizer, role, prompts, limit, rows):
        asked.append(prompts)
        return [Answer(say(p), True, 0.0, 1) for p in prompts]

    def say(prompt):
        told, _, listed = prompt.text.partition("?")
        color = next(c for c in COLORS if c in told)
        words = listed.split()
        return words[words.index(color) - 1] + " ."

    monkeypatch.setattr(speaker, "answer", answer)
    return asked


def measured(descriptions, items=ITEMS):
    spoken_to = Speaker(None, None, Prompts(), Instructions())
    return captioned_accuracy(spoken_to, None, items, 0, descriptions)


def test_the_description_stands_for_the_image(model):
    described = [f"a {COLORS[i % 4]} ring" for i in range(6)]
    assert measured(described) == {
        "captioned_choice": 100.0,
        "captioned_unparsed": 0,
        "captioned_unscored": 1,
    }
    (chosen,) = model
    assert {p.image for p in chosen} == {None}


def test_a_wrong_description_gives_wrong_answers(model):
    # Right of images 0 and 4, of five with a known answer.
    assert measured(["a red ring"] * 6)["captioned_choice"] == 40.0


def test_no_items_are_no_figure(model):
    assert measured([], [])["captioned_choice"] is None
