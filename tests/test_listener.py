"""The listener by Bayes' rule: beliefs, credits and whom the answers mean."""

import types

import numpy as np
import pytest

from vlm_games.data.examples import Example, read, said
from vlm_games.games import listener
from vlm_games.games.play import Role
from vlm_games.games.prompts import Prompts
from vlm_games.games.protocol import Exchange, GameSpec, PlayedGame
from vlm_games.models.mesh import make_mesh, place
from vlm_games.sampling.engine import Engine
from vlm_games.sampling.scoring import Score, Scorer
from vlm_games.worlds import questions as world
from vlm_games.worlds.splits import load_split

pytestmark = pytest.mark.usefixtures("quick_compiles")

PROMPTS = Prompts()
# p(answer | image) of three answers under four images.
LOG_PROBS = np.log(
    [[0.9, 0.9, 0.1, 0.1], [0.5, 0.5, 0.5, 0.5], [0.8, 0.2, 0.8, 0.2]]
)


def game(images, target, talk):
    exchanges = tuple(Exchange(q, a, "", 0.0, 0.0) for q, a in talk)
    return PlayedGame(GameSpec(0, images, target), exchanges, "", None, None)


# Beliefs and credits ----------------------------------------------------------


def test_beliefs_are_bayes_rule_over_a_uniform_prior():
    beliefs = listener.beliefs(LOG_PROBS)
    likelihood = np.cumprod(np.exp(LOG_PROBS), axis=0)
    expected = likelihood / likelihood.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(beliefs, expected)
    np.testing.assert_array_equal(beliefs[1], beliefs[0])


@pytest.mark.parametrize("shift", [0.0, -2000.0])
def test_beliefs_sum_to_one_however_improbable_the_answers(shift):
    rng = np.random.default_rng(0)
    log_probs = rng.normal(shift, 50, (6, 4))
    beliefs = listener.beliefs(log_probs)
    np.testing.assert_allclose(beliefs.sum(axis=1), 1)
    assert (beliefs >= 0).all()


def test_credit_has_the_sign_of_what_an_answer_says_for_the_target():
    credits = [listener.credits(LOG_PROBS, k) for k in range(4)]
    signs = np.sign(np.round(credits, 9))
    assert signs.tolist() == [[1, 0, 1], [1, 0, -1], [-1, 0, 1], [-1, 0, -1]]
    assert credits[0][0] == pytest.approx(np.log(0.9 / 0.5))


@pytest.mark.parametrize("shift", [0.0, -3.0, -2000.0])
def test_an_answer_that_fits_all_images_alike_earns_nothing(shift):
    credits = listener.credits(np.full((2, 4), shift), 2)
    np.testing.assert_allclose(credits, 0, atol=1e-9)


def test_credit_is_at_most_the_log_of_the_number_of_images():
    rng = np.random.default_rng(0)
    log_probs = rng.normal(-5, 30, (200, 4))
    assert listener.credits(log_probs, 0).max() <= np.log(4) + 1e-9


def test_a_game_without_turns_has_neither_beliefs_nor_credits():
    nothing = np.zeros((0, 4))
    assert listener.beliefs(nothing).shape == (0, 4)
    assert listener.credits(nothing, 1).shape == (0,)


# Listening --------------------------------------------------------------------


class ToyScorer:
    """Answers are probable where the toy world says that they are true."""

    TRUE = {(7, "red ?"): "yes", (8, "red ?"): "yes", (9, "red ?"): "no"}
    TRUE |= {(7, "ring ?"): "no", (8, "ring ?"): "yes", (9, "ring ?"): "yes"}

    def score(self, params, image_tokens, examples):
        return [
            tuple(self._score(e.images[0], *branch) for branch in e.branches)
            for e in examples
        ]

    def _score(self, image, asked, answered):
        question = asked.text.strip().removeprefix("question : ")
        question = question.removesuffix(" answer :")
        true = self.TRUE[image, question] == answered.text
        return Score(np.log(0.9 if true else 0.1), true)


def test_the_likeliest_image_is_the_one_that_all_answers_fit():
    role = Role(None, None)
    games = [
        game((9, 7, 8), 2, [("red ?", "yes"), ("ring ?", "yes")]),
        game((7, 8, 9), 0, []),
        game((8, 9, 7), 1, [("red ?", "no")]),
    ]
    found = listener.listen(ToyScorer(), PROMPTS, role, games)
    assert [x.shape for x in found] == [(2, 3), (0, 3), (1, 3)]
    assert found[0].sum(axis=0).argmax() == 2
    assert found[2].sum(axis=0).argmax() == 1
    np.testing.assert_allclose(
        np.exp(found[0]), [[0.1, 0.9, 0.9], [0.9, 0.1, 0.9]]
    )


@pytest.fixture(scope="module")
def ears(base):
    """The base as a listener to true answers about 16 source scenes."""
    config, params, tokenizer = base
    mesh = make_mesh()
    params = place(mesh, params)
    scenes, pixels = load_split("source/validation", 16)
    tokens = Engine(config, mesh).encode(params, pixels, chunk=16)
    return types.SimpleNamespace(
        scorer=Scorer(config, tokenizer, mesh, rows=8),
        role=Role(params, tokens),
        scenes=scenes,
    )


def true_games(scenes, count: int):
    """Games in which six random questions are answered truly."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        images = tuple(rng.choice(len(scenes), 4, replace=False).tolist())
        target = int(rng.integers(4))
        asked = [
            world.QUESTIONS[i] for i in rng.choice(len(world.QUESTIONS), 6)
        ]
        scene = scenes[images[target]]
        talk = [(q.text, min(world.answers(q, scene))) for q in asked]
        yield game(images, target, talk)


def test_the_base_finds_the_target_from_true_answers(ears):
    games = list(true_games(ears.scenes, 60))
    found = listener.listen(ears.scorer, PROMPTS, ears.role, games)
    right = [
        x.sum(axis=0).argmax() == g.spec.target
        for x, g in zip(found, games, strict=True)
    ]
    assert np.mean(right) > 0.5  # by chance a quarter


def test_each_answer_is_judged_by_itself_and_by_one_image(ears):
    (played,) = true_games(ears.scenes, 1)
    (found,) = listener.listen(ears.scorer, PROMPTS, ears.role, [played])
    alone = [
        Example(
            (image,),
            (
                read(PROMPTS.ask_describer(x.question)),
                said(x.answer),
            ),
        )
        for x in played.exchanges
        for image in played.spec.images
    ]
    scores = ears.scorer.score(ears.role.params, ears.role.image_tokens, alone)
    expected = [score.log_prob for (score,) in scores]
    np.testing.assert_allclose(found.ravel(), expected, atol=1e-3)
