"""The loop: play -> filter -> fine-tune -> measure, arm by arm, resumable.

What a resume takes first, for each iteration of each arm in order:

    1. metrics.json        the iteration is done: nothing is computed
    2. checkpoint/         it has trained: only the measure is taken
    3. training/step_<n>   it trains on from step n, on the same batches
    4. dialogs/shard_<s>   whole shards are read, the others are played
"""

import dataclasses
import time
from collections.abc import Callable

import jax
import numpy as np
import optax
from absl import logging

from vlm_games.data.augment import AugmentConfig
from vlm_games.data.images import RenderedSource
from vlm_games.data.packing import BatchShape
from vlm_games.data.workdir import Workdir
from vlm_games.evaluation.game_success import talk_figures
from vlm_games.evaluation.measure import measure
from vlm_games.methods.dialog_games import DialogGames
from vlm_games.methods.method import Selection, fold
from vlm_games.models.mesh import replicate
from vlm_games.pretraining.examples import (
    Recipe,
    answer_row,
    game_row,
    probe_row,
)
from vlm_games.training import checkpoint, feed, step
from vlm_games.workbench import Setup

METHODS = {"dialog_games": DialogGames}
Progress = Callable[[str, int, int], None]  # (what, done, of)


class DivergedError(RuntimeError):
    """The loss is no number; the message names arm, iteration and step."""


@dataclasses.dataclass(frozen=True)
class Run:
    """All that the loop needs.

    Attributes:
      config: ConfigDict. setup: model and images. workdir: where it writes.
      progress: told how far the work is.
    """

    config: object
    setup: Setup
    workdir: Workdir
    progress: Progress

    @property
    def bench(self):
        return self.setup.bench


@dataclasses.dataclass(frozen=True)
class Trainer:
    """What all arms and iterations train with; its step compiles once.

    Attributes:
      optimizer, update: of training.step. replay: the source's streams.
    """

    optimizer: optax.GradientTransformation
    update: Callable
    replay: list[feed.Stream]


def make_trainer(run: Run) -> Trainer:
    """Builds the step that `config.train` describes."""
    c, bench = run.config.train, run.bench
    optimizer = step.make_optimizer(
        step.OptimizerConfig(c.learning_rate, c.steps, c.warmup, c.weight_decay)
    )
    update = step.make_train_step(
        bench.model, optimizer, bench.mesh, AugmentConfig(strength=c.augment)
    )
    return Trainer(optimizer, update, replay_streams(run))


def self_improve(run: Run) -> dict[str, list[dict]]:
    """Runs or resumes every arm; returns the metrics by arm and iteration."""
    method = METHODS[run.config.method](run.bench)
    base = replicate(run.bench.mesh, run.setup.base_params)
    trainer = make_trainer(run)
    results: dict[str, list[dict]] = {}
    for arm in ("main", *run.config.controls):
        results[arm] = []
        params = base
        for iteration in range(run.config.iterations + 1):
            if iteration == 0 and arm != "main":
                continue
            metrics = run.workdir.metrics(arm, iteration)
            if metrics is None:
                metrics = run_iteration(
                    run, method, arm, iteration, params, base, trainer
                )
            results[arm].append(metrics)
            if iteration:
                path = run.workdir.iteration(arm, iteration) / "checkpoint"
                params = checkpoint.load(path, base)
    return results


def run_iteration(
    run: Run, method, arm: str, iteration: int, params, base, trainer
) -> dict:
    """One iteration of one arm, from wherever it was left."""
    started = time.time()
    seconds: dict[str, float] = {}

    def timed(phase, work):
        before = time.time()
        result = work()
        seconds[phase] = round(time.time() - before, 2)
        return result

    figures: dict = {"games_played": 0, "games_kept": 0}
    if iteration:
        folder = run.workdir.iteration(arm, iteration)
        records = timed(
            "play", lambda: play(run, method, arm, iteration, params)
        )
        main = run.workdir.metrics("main", iteration)
        chosen: Selection = timed(
            "filter",
            lambda: method.select(
                records,
                arm,
                iteration,
                None if arm == "main" else main["budget"],
            ),
        )
        figures = {
            "games_played": len(records),
            "games_kept": chosen.kept,
            "budget": chosen.budget,
            **chosen.figures,
            **talk_figures(records),
        }
        verdict = chosen.figures["filters"].get(run.config.game.filter, {})
        for name in ("truth_kept", "truth_dropped"):
            figures[name] = verdict.get(name)
        done = folder / "checkpoint"
        if checkpoint.exists(done):
            params = checkpoint.load(done, base)
        else:
            start = base if run.config.train.start == "base" else params
            params = timed(
                "train",
                lambda: fine_tune(run, arm, iteration, start, chosen, trainer),
            )
            checkpoint.save(done, params)
        checkpoint.prune(folder / "training")
    run.progress(f"{arm} {iteration}: measure", 0, 1)
    measured = timed(
        "evaluate",
        lambda: measure(
            run.bench.engine,
            run.bench.scorer,
            run.bench.prompts,
            method.table,
            params,
            base,
            run.setup.held_out,
        ),
    )
    metrics = {
        "iteration": iteration,
        **measured,
        **figures,
        "seconds": round(time.time() - started, 1),
        "phase_seconds": seconds,
    }
    run.workdir.write_metrics(arm, iteration, metrics)
    return metrics


def play(run: Run, method, arm: str, iteration: int, params) -> list:
    """All games of an iteration; those on disk are not played again.

    In the first iteration every arm's model is the base, so that controls
    take main's games.
    """
    if arm == "replay_only":
        return []
    owner = "main" if iteration == 1 else arm
    records, prepared = [], None
    for shard in range(method.shards()):
        run.progress(f"{arm} {iteration}: play", shard, method.shards())
        found = run.workdir.read_shard(owner, iteration, shard)
        if found is None:
            if prepared is None:
                prepared = method.prepare(params, iteration)
            found = method.candidates(params, prepared, iteration, shard)
            run.workdir.write_shard(owner, iteration, shard, found)
        records += found
    return records


def replay_streams(run: Run) -> list[feed.Stream]:
    """Source examples, as the base was trained on, against forgetting."""
    c, bench = run.config.train, run.bench
    size = bench.model.vision.image_size
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
    several = [*many(game_row), *many(probe_row)]
    rows = c.rows
    return [
        stream("replay answers", answers, source, rows.replay_answer, 128, 1),
        stream("replay games", several, source, rows.replay_game, 256, n),
    ]


def stream(name, examples, images, rows: int, length: int, per_row: int):
    """A stream whose rows hold `per_row` images or as many as fit."""
    shape = BatchShape(rows, length, rows * per_row)
    return feed.Stream(name, examples, images, shape)


def fine_tune(
    run: Run, arm: str, iteration: int, params, chosen: Selection, trainer
):
    """Trains on the chosen examples and on replay; returns params."""
    c, bench = run.config.train, run.bench
    n = run.config.game.images
    lengths = {"describer": (88, 1), "guesser": (256, n)}
    streams = [
        stream(name, found, bench.images, c.rows[name], *lengths[name])
        for name, found in chosen.examples.items()
        if found and c.rows[name]
    ] + [s for s in trainer.replay if s.shape.rows]
    state = step.init_state(params, trainer.optimizer, bench.mesh)
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
            bench.engine.devices,
            seed,
            number,
        )
        # The last step's loss is read once the next one is on its way.
        before, (state, metrics) = (
            metrics,
            trainer.update(state, batches, pixels, key),
        )
        if before is not None:
            check_finite(before, arm, iteration, number - 1)
        run.progress(f"{arm} {iteration}: train", number, c.steps)
        if number % c.save_every == c.save_every - 1 and number + 1 < c.steps:
            checkpoint.save(folder / f"step_{number + 1}", state)
            checkpoint.prune(folder, keep=number + 1)
    if metrics is not None:
        check_finite(metrics, arm, iteration, c.steps - 1)
    return state.params


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
