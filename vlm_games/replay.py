"""Replay of the source against forgetting: rows as the base was trained on."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from vlm_games.data.examples import Example, said
from vlm_games.data.images import RenderedSource
from vlm_games.games.answer import Asked, answer
from vlm_games.games.play import Role
from vlm_games.pretraining.examples import (
    Recipe,
    answer_row,
    game_row,
    probe_row,
)
from vlm_games.workbench import Run


@dataclasses.dataclass(frozen=True)
class Replay:
    """A stream of the source.

    Attributes:
      name: of the stream. examples: at least one. images: what they count.
      per_row: images that a row holds at most.
    """

    name: str
    examples: Sequence[Example]
    images: RenderedSource
    per_row: int


def make_replay(run: Run) -> list[Replay]:
    """Source examples, as the base was trained on, against forgetting."""
    c, bench = run.config.train, run.bench
    size = bench.model.vision.image_size
    if not c.rows.replay_answer and not c.rows.replay_game:
        return []
    source = RenderedSource("source/replay", c.replay_images, size)
    recipe, n = Recipe(**run.config.recipe), run.config.game.images
    rng = np.random.default_rng((run.config.seed, 77))

    def many(maker):
        rows = []
        for _ in range(c.replay_images // n):
            ids = rng.choice(len(source), n, replace=False).tolist()
            scenes = [source.scenes[i] for i in ids]
            rows.append(maker(rng, bench.prompts, recipe, scenes, ids))
        return rows

    answers = [
        answer_row(rng, bench.prompts, recipe, scene, i)
        for i, scene in enumerate(source.scenes)
    ]
    if c.replay_answers == "own":
        answers = answer_again(run, answers, source)
    several = [*many(game_row), *many(probe_row)]
    made = {"replay_answer": (answers, 1), "replay_game": (several, n)}
    return [
        Replay(name, examples, source, images)
        for name, (examples, images) in made.items()
        if c.rows[name]
    ]


def answer_again(
    run: Run, rows: Sequence[Example], source: RenderedSource
) -> list[Example]:
    """The same rows with the base's own greedy answers to their questions.

    What the base knows is then kept as the base knows it, and no label of the
    source is needed. A description stays as it is; a question on which the
    base comes to no end is left out.
    """
    bench, params = run.bench, run.setup.base_params
    pixels = np.stack([source[i] for i in range(len(source))])
    role = Role(params, bench.engine.encode(params, pixels))
    asked = [
        Asked(row.images[0], row.trunk[0].text + branch[0].text)
        for row in rows
        for branch in row.branches
        if is_question(branch)
    ]
    limit = run.config.play.answer_tokens
    answers = answer(bench.engine, bench.tokenizer, role, asked, limit)
    found = iter(a.text if a.ended else "" for a in answers)
    again = []
    for row in rows:
        branches = [
            (branch[0], said(next(found)), branch[2])
            if is_question(branch)
            else branch
            for branch in row.branches
        ]
        kept = tuple(b for b in branches if b[1].text)
        again.append(dataclasses.replace(row, branches=kept))
    return again


def is_question(branch) -> bool:
    """Whether a branch is (question, answer, end) and no description."""
    return len(branch) == 3
