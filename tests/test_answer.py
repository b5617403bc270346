"""Greedy answers: the likeliest words, whatever stands in the same batch."""

import dataclasses

import numpy as np
import pytest

from vlm_games.data.examples import Example, read, said
from vlm_games.games import answer as answering
from vlm_games.games.answer import Asked, answer
from vlm_games.games.play import Role
from vlm_games.games.prompts import Prompts
from vlm_games.models.mesh import make_mesh, place
from vlm_games.sampling.engine import Engine
from vlm_games.sampling.scoring import Scorer
from vlm_games.worlds import questions as world
from vlm_games.worlds.splits import load_split

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_compiles")]

IMAGES = 6
QUESTIONS = [q.text for q in world.QUESTIONS[::40]]


@pytest.fixture(scope="module")
def seat(base):
    """(engine, tokenizer, role) of the shipped base."""
    config, params, tokenizer = base
    mesh = make_mesh()
    engine, there = Engine(config, mesh), place(mesh, params)
    pixels = load_split("source/validation", IMAGES)[1]
    return engine, tokenizer, Role(there, engine.encode(there, pixels))


@pytest.fixture(scope="module")
def asked():
    prompts = Prompts()
    return [
        Asked(
            image,
            prompts.describer_trunk() + prompts.question_only(question),
            (image, number),
        )
        for image in range(IMAGES)
        for number, question in enumerate(QUESTIONS)
    ]


def test_every_answer_is_the_models_first_choice(seat, asked):
    engine, tokenizer, role = seat
    found = answer(*seat, asked, 4)
    scorer = Scorer(engine.config, tokenizer, engine.mesh)
    examples = [
        Example((x.image,), (read(x.text), said(f"{words.text} <eos>")))
        for x, words in zip(asked, found, strict=True)
    ]
    scores = scorer.score(role.params, role.image_tokens, examples)
    assert all(score.greedy for (score,) in scores)
    assert all(words.ended for words in found)
    for words, (score,) in zip(found, scores, strict=True):
        assert words.log_prob == pytest.approx(score.log_prob, abs=1e-3)
    assert len({x.text for x in found}) > 2  # it looks at the pictures


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_batches_do_not_matter(seat, asked, monkeypatch, temperature):
    together = answer(*seat, asked, 4, temperature)
    monkeypatch.setattr(answering, "ROWS", 3)
    for part in (slice(0, None), slice(5, 6)):
        found = answer(*seat, asked[part], 4, temperature)
        assert [x.text for x in found] == [x.text for x in together[part]]


def test_words_that_were_cut_are_told(seat, asked):
    assert {x.ended for x in answer(*seat, asked[:4], 1)} == {False}
    assert answer(*seat, [], 4) == []


def test_another_seed_or_number_is_another_draw(seat, asked):
    def texts(prompts, seed=(0,)):
        return [x.text for x in answer(*seat, prompts, 4, 3.0, seed)]

    first = texts(asked)
    assert texts(asked) == first
    assert texts(asked, (1,)) != first
    other = [dataclasses.replace(x, draw=(7, i)) for i, x in enumerate(asked)]
    assert texts(other) != first


def test_other_pictures_get_other_answers(seat, asked):
    engine, tokenizer, role = seat
    order = np.roll(np.arange(IMAGES), 1)
    tokens = role.image_tokens.reshape(IMAGES, -1, role.image_tokens.shape[-1])
    turned = Role(role.params, tokens[order].reshape(-1, tokens.shape[-1]))
    found = answer(engine, tokenizer, turned, asked, 4)
    moved = [dataclasses.replace(x, image=int(order[x.image])) for x in asked]
    expected = answer(*seat, moved, 4)
    assert [x.text for x in found] == [x.text for x in expected]
