"""Fine-tunes on what a method chose and on replay of the source; resumable."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import numpy as np
import optax
from absl import logging

from vlm_games.data.augment import AugmentConfig
from vlm_games.data.examples import Example, said
from vlm_games.data.images import RenderedSource
from vlm_games.data.packing import BatchShape
from vlm_games.games.answer import Asked, answer
from vlm_games.games.play import Role
from vlm_games.methods.method import Selection, fold
from vlm_games.models.mesh import shardings
from vlm_games.pretraining.examples import (
    Recipe,
    answer_row,
    game_row,
    probe_row,
)
from vlm_games.training import checkpoint, feed, lora, step
from vlm_games.workbench import Run


class DivergedError(RuntimeError):
    """The loss is no number; the message names arm, iteration and step."""


@dataclasses.dataclass(frozen=True)
class Trainer:
    """What all arms and iterations train with; its step compiles once.

    Attributes:
      optimizer, update: of training.step. replay: the source's streams.
      adapters: if any, these are trained and all else is frozen.
    """

    optimizer: optax.GradientTransformation
    update: Callable
    replay: list[feed.Stream]
    adapters: lora.LoraConfig | None


def make_trainer(run: Run) -> Trainer:
    """Builds the step that `config.train` describes."""
    c, bench = run.config.train, run.bench
    optimizer = step.make_optimizer(
        step.OptimizerConfig(c.learning_rate, c.steps, c.warmup, c.weight_decay)
    )
    adapters, assemble = None, {}
    if c.lora.rank:
        adapters = lora.LoraConfig(**c.lora)
        assemble = {"assemble": functools.partial(lora.attach, adapters)}
    update = step.make_train_step(
        dataclasses.replace(bench.model, remat=c.remat),
        optimizer,
        bench.mesh,
        AugmentConfig(strength=c.augment),
        **assemble,
    )
    return Trainer(optimizer, update, replay_streams(run), adapters)


def replay_streams(run: Run) -> list[feed.Stream]:
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
        stream(c, name, examples, source, images)
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


def stream(config, name: str, examples, images, per_row: int) -> feed.Stream:
    """A stream by `config.train`; a row holds at most `per_row` images."""
    rows = config.rows[name]
    shape = BatchShape(rows, config.lengths[name], rows * per_row)
    return feed.Stream(name, examples, images, shape)


def fine_tune(
    run: Run, arm: str, iteration: int, params, chosen: Selection, trainer
):
    """Trains on the chosen examples and on replay; returns params.

    If there is nothing to learn from, they are what they were.
    """
    c, bench = run.config.train, run.bench
    streams = [
        stream(c, name, found, bench.images, len(found[0].images))
        for name, found in chosen.examples.items()
        if found and c.rows[name]
    ] + trainer.replay
    if not streams:
        logging.warning("%s %d: nothing to learn from", arm, iteration)
        return params
    trained, frozen = params, None
    if trainer.adapters is not None:
        key = fold(run.config.seed, iteration, 1001)
        trained, frozen = lora.init(trainer.adapters, params, key), params
    state = step.init_state(trained, trainer.optimizer, bench.mesh)
    folder = run.workdir.iteration(arm, iteration) / "training"
    done = checkpoint.latest(folder)
    if done is not None:
        state = checkpoint.load(done[1], state)
    seed = (run.config.seed, iteration)
    key = fold(run.config.seed, iteration, 1000)
    metrics = None
    for number in range(0 if done is None else done[0], c.steps):
        batches, pixels = feed.draw(
            streams,
            bench.tokenizer,
            bench.model.tokens_per_image,
            bench.engine.shards,
            seed,
            number,
        )
        # The last step's loss is read once the next one is on its way.
        with run.profiled(f"{arm}/{iteration}/train/{number}") as wait_for:
            before, (state, metrics) = (
                metrics,
                trainer.update(state, frozen, batches, pixels, key),
            )
            wait_for(metrics)
        if before is not None:
            check_finite(before, arm, iteration, number - 1)
        run.progress(f"{arm} {iteration}: train", number, c.steps)
        if number % c.save_every == c.save_every - 1 and number + 1 < c.steps:
            checkpoint.save(folder / f"step_{number + 1}", state)
            checkpoint.prune(folder, keep=number + 1)
    if metrics is not None:
        check_finite(metrics, arm, iteration, c.steps - 1)
    if trainer.adapters is None:
        return state.params
    # The whole model goes on; its adapters are kept for whoever wants them.
    checkpoint.save(folder.parent / "adapters", state.params)
    laid_out = shardings(bench.mesh, params)
    merge = jax.jit(lora.merge, static_argnums=0, out_shardings=laid_out)
    return merge(trainer.adapters, params, state.params)


def check_finite(metrics, arm: str, iteration: int, number: int) -> None:
    """Raises DivergedError if a step's loss is NaN or infinite."""
    loss = float(jax.device_get(metrics["loss"]))
    if not np.isfinite(loss):
        raise DivergedError(
            f"The loss of arm {arm!r}, iteration {iteration}, step {number} "
            f"is {loss}. The run keeps all that was finished before; lower "
            "config.train.learning_rate and start in a new --workdir."
        )
    logging.vlog(1, "%s %d step %d: loss %.4f", arm, iteration, number, loss)
