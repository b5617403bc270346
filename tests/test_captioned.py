"""Own descriptions in the image's place: text in, text out."""

import pytest

from vlm_games.evaluation import choices, descriptions
from vlm_games.evaluation.captioned import captioned_accuracy
from vlm_games.evaluation.choices import Choice
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
    """Describes image i as its color, then reads color and mark off."""
    asked = []

    def answer(engine, tokenizer, role, prompts, limit):
        asked.append(prompts)
        return [Answer(say(p), True, 0.0, 1) for p in prompts]

    def say(prompt):
        if prompt.image is not None:
            return f"a {COLORS[prompt.image % 4]} ring"
        told, _, listed = prompt.text.partition("?")
        color = next(c for c in COLORS if c in told)
        words = listed.split()
        return words[words.index(color) - 1] + " ."

    monkeypatch.setattr(descriptions, "answer", answer)
    monkeypatch.setattr(choices, "answer", answer)
    return asked


def measured(**fields):
    return captioned_accuracy(
        None, None, Prompts(), Instructions(), None, ITEMS, 0, **fields
    )


def test_the_description_stands_for_the_image(model):
    assert measured() == {
        "captioned_choice": 100.0,
        "captioned_unparsed": 0,
        "captioned_unscored": 1,
    }
    described, chosen = model
    assert [p.image for p in described] == list(range(6))
    assert {p.image for p in chosen} == {None}


def test_descriptions_at_hand_are_not_made_again(model):
    found = measured(descriptions=["a red ring"] * 6)
    assert len(model) == 1
    assert found["captioned_choice"] == 40.0  # images 0 and 4 of five


def test_no_items_are_no_figure(monkeypatch, model):
    monkeypatch.setitem(globals(), "ITEMS", [])
    assert measured()["captioned_choice"] is None
