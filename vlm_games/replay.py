"""Replay of the source against forgetting: rows as the base was trained on."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from vlm_games.data.examples import Example, said
from vlm_games.data.fetch import Images
from vlm_games.data.images import RenderedSource
from vlm_games.games.answer import Asked, answer
from vlm_games.games.openly import Leading, ask_openly, yes_or_no
from vlm_games.games.play import Role
from vlm_games.methods.method import Workbench
from vlm_games.pretraining.examples import (
    Recipe,
    answer_row,
    game_row,
    probe_row,
)
from vlm_games.pretraining.frames import SUBJECTS, Frames, load_frames
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
    images: Images
    per_row: int


def make_replay(run: Run) -> list[Replay]:
    """Source examples, as the base was trained on, against forgetting."""
    c, bench = run.config.train, run.bench
    size = bench.model.vision.image_size
    if not c.rows.replay_answer and not c.rows.replay_game:
        return []
    source = RenderedSource("source/replay", c.replay_images, size)
    images: Images = source
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
    several = [*many(game_row), *many(probe_row)]
    if c.replay_frames:
        frames = load_frames(c.replay_frames, size)
        first = len(source)
        images = np.concatenate([source.images, frames.pixels])
        answers += frame_rows(run, frames, first, 1, (answer_row,))
        several += frame_rows(run, frames, first, n, (game_row, probe_row))
    if c.replay_answers != "labels":
        answers = answer_again(run, answers, images)
    made = {"replay_answer": (answers, 1), "replay_game": (several, n)}
    return [
        Replay(name, examples, images, per_row)
        for name, (examples, per_row) in made.items()
        if c.rows[name]
    ]


def frame_rows(
    run: Run, frames: Frames, first: int, count: int, makers: Sequence[Callable]
) -> list[Example]:
    """As many rows of each maker as there are frames for, `count` a row.

    Args:
      first: what the first frame is numbered.
    """
    rng = np.random.default_rng((run.config.seed, 78, count))
    recipe = dataclasses.replace(Recipe(**run.config.recipe), agree=0.0)
    rows = []
    for _ in range(len(frames.pixels) // count):
        ids = frames.draw(rng, count, run.config.train.replay_last)
        facts = [frames.facts[i] for i in ids]
        places = [first + i for i in ids]
        subject = SUBJECTS[frames.tasks[ids[0]]]
        for maker in makers:
            one = count == 1
            rows.append(
                maker(
                    rng,
                    run.bench.prompts,
                    recipe,
                    facts[0] if one else facts,
                    places[0] if one else places,
                    subject,
                )
            )
    return rows


def answer_again(
    run: Run, rows: Sequence[Example], images: Images
) -> list[Example]:
    """The same rows with the base's own greedy answers to their questions.

    What the base knows is then kept as the base knows it, and no label of the
    source is needed. A description stays as it is; a question on which the
    base comes to no end is left out. Where `config.train.replay_answers` is
    "openly", what the base says to a question put openly counts for more than
    what it says to a leading one; see `games.openly`.
    """
    bench, params = run.bench, run.setup.base_params
    used = sorted({row.images[0] for row in rows})
    place = {image: number for number, image in enumerate(used)}
    pixels = np.stack([images[i] for i in used])
    role = Role(params, bench.engine.encode(params, pixels))
    before, after = bench.prompts.question_frame()
    asked = [
        (
            place[row.images[0]],
            branch[0].text.removeprefix(before).removesuffix(after),
        )
        for row in rows
        for branch in row.branches
        if is_question(branch)
    ]
    prompts = [Asked(i, bench.prompts.ask_describer(q)) for i, q in asked]
    limit = run.config.play.answer_tokens
    answers = answer(bench.engine, bench.tokenizer, role, prompts, limit)
    texts = [a.text if a.ended else "" for a in answers]
    if run.config.train.replay_answers == "openly":
        leading = [
            Leading(*one, text) for one, text in zip(asked, texts, strict=True)
        ]
        texts = put_right(bench, role, leading, limit)
    found = iter(texts)
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


def put_right(
    bench: Workbench, role: Role, leading: Sequence[Leading], limit: int
) -> list[str]:
    """The answers; yes and no in each other's place where they do not hold.

    Args:
      limit: most tokens of an open answer.
    """
    opened = ask_openly(
        bench.engine, bench.tokenizer, bench.prompts, role, leading, limit
    )
    other = {True: "no", False: "yes"}
    return [
        one.answer
        if put is None or put.holds
        else other[bool(yes_or_no(one.answer))]
        for one, put in zip(leading, opened, strict=True)
    ]


def is_question(branch) -> bool:
    """Whether a branch is (question, answer, end) and no description."""
    return len(branch) == 3
