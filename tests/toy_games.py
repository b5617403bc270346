"""Dialog games on a bench without a model, for tests of what surrounds it."""

import types

import jax.numpy as jnp
import ml_collections

from vlm_games.data.images import RenderedSource
from vlm_games.data.tokenizer import word_tokenizer
from vlm_games.games.image_sets import draw_sets
from vlm_games.games.instructions import Instructions
from vlm_games.games.prompts import Prompts, prompt_words
from vlm_games.games.protocol import Exchange, PlayedGame
from vlm_games.methods import choose
from vlm_games.methods.dialog_games import DialogGames
from vlm_games.sampling.scoring import Score
from vlm_games.workbench import stratum
from vlm_games.worlds import questions as world

PROMPTS = Prompts()
ASKED = ("is there a ring ?", "what color is the circle ?")
IMAGES, GAMES, SHARD = 30, 20, 8


def settings(**game) -> ml_collections.ConfigDict:
    c = ml_collections.ConfigDict(
        {
            "seed": 3,
            "generated_tokens": 0,
            "encode_images": 16,
            "image_workers": 1,
        }
    )
    c.play = ml_collections.ConfigDict(
        {"guess": "spoken", "style": "any", "turns": 2, "answer_tokens": 4}
    )
    c.game = ml_collections.ConfigDict(
        {
            "images": 4,
            "games": GAMES,
            "shard": SHARD,
            "sets": "random",
            "filter": "complete",
            "judges": 1,
            "judge_view": 0.0,
            "describer_view": 0.0,
            "repeats": 0,
            "reshuffles": 0,
            "credit": -1.0,
            "balance": False,
            "asks_all": 0.75,
            "openly": False,
            "sure": 0.0,
            "consistent": 0.0,
            "corrupted": 0.0,
        }
        | game
    )
    c.stic = ml_collections.ConfigDict(
        {"low_side": 4, "brightness": 0.5, "hue": 0.3}
    )
    c.triangle = ml_collections.ConfigDict(
        {
            "similarity": "overlap",
            "long_answer": 20,
            "fixed": (),
            "rows": 4,
            "question_tokens": 12,
            "answer_tokens": 4,
        }
    )
    return c


class ToyTable:
    """Both questions are asked in every game; every fifth is aborted."""

    settings = types.SimpleNamespace(questions=(), guess="spoken", slots=8)

    def play(self, guesser, describer, specs, seed):
        for spec in specs:
            bad = spec.game % 5 == 4
            turns = tuple(
                Exchange(question, answer, "", -1.0, -1.0)
                for question, answer in zip(ASKED, ("yes", "red"), strict=True)
            )
            guess, reason = (None, "no guess") if bad else (spec.target, None)
            yield PlayedGame(spec, turns, "", guess, reason)


class ToyScorer:
    """An answer fits an image by its first token; notes what it is asked."""

    def score(self, params, image_tokens, examples):
        return [
            tuple(
                Score(float(image_tokens[e.images[0], 0]) / 1e3, True)
                for _ in e.branches
            )
            for e in examples
        ]


def make_bench(**game):
    """What a method works with, without a model: a token is a mean colour."""
    config = settings(**game)
    images = RenderedSource("target/validation", IMAGES, 16)

    def draw(iteration: int, first: int, count: int):
        return draw_sets(
            kind="random",
            first=first,
            count=count,
            size=4,
            seed=config.seed,
            iteration=iteration,
            total=IMAGES,
        )

    return types.SimpleNamespace(
        config=config,
        model=types.SimpleNamespace(
            vision=types.SimpleNamespace(image_size=16), tokens_per_image=1
        ),
        prompts=PROMPTS,
        instructions=Instructions(),
        tokenizer=word_tokenizer(
            [*prompt_words(PROMPTS, 4), *world.VOCABULARY]
        ),
        engine=types.SimpleNamespace(
            shards=1,
            encode=lambda params, pixels: jnp.asarray(
                pixels.mean((1, 2)), jnp.float32
            ),
        ),
        scorer=ToyScorer(),
        table=ToyTable(),
        images=images,
        draw_sets=draw,
        truth=lambda image, question, answer: image % 2 == 0,
        stratum=stratum,
    )


def played(bench, iteration=1, shards=range(3)):
    """Records of an iteration, and what it was prepared with."""
    method = DialogGames(bench)
    prepared = method.prepare(None, iteration)
    records = [
        r
        for shard in shards
        for r in method.candidates(None, prepared, iteration, shard)
    ]
    return prepared, records


def select(games, arm, bench, budget=None):
    """What an arm learns from."""
    seed = (0, 1)
    return choose.select(games, arm, bench.config.game, bench, seed, budget)
