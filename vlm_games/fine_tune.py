"""Fine-tunes on what a method chose and on replay of the source; resumable.

The stages of an iteration follow one another; each leaves what it learned:

    training/<stage>/step_<n>     TrainState while it trains
                     params       when it is done, for the next one
                     figures.json of its last step
"""

import dataclasses
import pathlib
from collections.abc import Sequence

import jax
import numpy as np
from absl import logging

from vlm_games import hosts
from vlm_games.data import atomic
from vlm_games.data.examples import Example
from vlm_games.data.fetch import fetch
from vlm_games.methods.method import Examples, Stage, fold
from vlm_games.models.mesh import place, place_batch, shards_here, shards_of
from vlm_games.trainer import Recipe, Trainer, make_streams
from vlm_games.training import checkpoint, feed, step
from vlm_games.workbench import Run


class DivergedError(RuntimeError):
    """The loss is no number; the message names arm, iteration and step."""


@dataclasses.dataclass(frozen=True)
class Course:
    """Whose stages are trained.

    Attributes:
      arm, iteration: of the run.
      phase: "training", or "warm_up" of the model that makes candidates.
    """

    arm: str
    iteration: int
    phase: str

    @property
    def name(self) -> str:
        """As messages and progress say it."""
        return f"{self.arm} {self.iteration}"

    def folder(self, run: Run) -> pathlib.Path:
        """Where the stages leave what they learned."""
        return run.workdir.iteration(self.arm, self.iteration) / self.phase


def fine_tune(
    run: Run, trainer: Trainer, course: Course, params, stages: Sequence[Stage]
):
    """Trains stage after stage; returns params.

    If there is nothing to learn from, they are what they were. Where
    `run.notice` is held, the process leaves once a state is saved.
    """
    folder = course.folder(run)
    for number, stage in enumerate(stages):
        done = folder / stage.name / "params"
        figures = folder / stage.name / "figures.json"
        if checkpoint.find(done) and hosts.first_says(
            f"there {figures}", figures.exists
        ):
            params = run.load_params(done)
            continue
        run.notice.obey()
        params = train_stage(run, trainer, course, number, params, stage)
        last = course.phase == "training" and number + 1 == len(stages)
        if not last:  # of the last one, `checkpoint` is kept
            run.save_params(done, params)
    return params


def train_stage(
    run: Run,
    trainer: Trainer,
    course: Course,
    number: int,
    params,
    stage: Stage,
):
    """One stage, from wherever it was left; returns params."""
    recipe, bench = trainer.recipe(stage), run.bench
    folder = course.folder(run) / stage.name
    done = checkpoint.latest(folder)
    # While all is prepared.
    tell_step(run, course, stage.name, 0 if done is None else done[0], recipe)
    examples = stage.examples(params)
    hosts.agree(f"{course.name}: examples of {stage.name}", examples)
    said = stage.said(examples)
    if stage.objective == "preference":
        examples = with_reference(run, params, stage, examples)
    replay = trainer.replay if stage.replay else ()
    streams = make_streams(
        recipe.settings, stage, examples, bench.images, replay
    )
    if not streams:
        logging.warning("%s: nothing to learn from", course.name)
        return params
    # Stages have draws of their own, and so has a warm-up.
    own = number + 100 * (course.phase == "warm_up")
    seed = (run.config.seed, course.iteration, *([own] if own else []))
    keys = [
        fold(run.config.seed, course.iteration, 1000 + 2 * own + i)
        for i in range(2)
    ]
    trained, frozen = recipe.trainable.begin(params, keys[1])
    state = step.init_state(trained, recipe.optimizer, bench.mesh)
    if done is not None:
        state = checkpoint.load(done[1], state)
    frozen = place(bench.mesh, frozen)
    state, figures = run_steps(
        run, course, recipe, folder, state, frozen, streams, seed, keys[0]
    )
    figures["generated_tokens"] = said
    if hosts.is_first():
        atomic.write_json(folder / "figures.json", figures)
    if recipe.trainable.adapters is not None:
        # The whole model goes on; adapters are kept for whoever wants them.
        checkpoint.save(folder / "adapters", state.params)
    playing = bench.engine.mesh
    trained = place(playing, state.params)
    return recipe.trainable.finish(playing, params, trained)


def run_steps(
    run: Run,
    course: Course,
    recipe: Recipe,
    folder: pathlib.Path,
    state: step.TrainState,
    frozen,
    streams: Sequence[feed.Stream],
    seed: tuple[int, ...],
    key: jax.Array,
) -> tuple[step.TrainState, dict]:
    """The steps that `state` has not taken yet; and the stage's figures."""
    c, bench, start = recipe.settings, run.bench, int(state.step)
    metrics, tokens = None, 0
    augmented = tuple(stream.augmented for stream in streams)
    for number in range(c.steps):
        batches = draw_here(bench, streams, seed, number)
        tokens += feed.count_tokens(batches)
        if number < start:
            continue
        workers = run.config.image_workers
        pixels = feed.read_pixels(streams, batches, workers)
        fed = place_batch(bench.mesh, (batches, pixels))
        if metrics is None:
            compile_together(
                course, recipe, state, frozen, *fed, key, augmented
            )
        # The last step's loss is read once the next one is on its way.
        step_name = f"{course.arm}/{course.iteration}/train/{number}"
        with run.profiled(step_name) as wait_for:
            before, (state, metrics) = (
                metrics,
                recipe.update(state, frozen, *fed, key, augmented),
            )
            wait_for(metrics)
        if before is not None:
            check_finite(before, course, number - 1)
        tell_step(run, course, folder.name, number, recipe)
        told = run.notice.agreed()
        due = told or number % c.save_every == c.save_every - 1
        if due and number + 1 < c.steps:
            checkpoint.save(folder / f"step_{number + 1}", state)
            checkpoint.prune(folder, keep=number + 1)
            run.notice.obey()
    last = {} if metrics is None else check_finite(metrics, course, c.steps - 1)
    tokens = hosts.total(f"{course.name}: tokens", tokens)
    return state, {"trained_tokens": tokens, **last}


def tell_step(
    run: Run, course: Course, stage: str, number: int, recipe: Recipe
) -> None:
    """Shows how far a stage is."""
    what = "train" if stage == "sft" else stage
    run.progress(f"{course.name}: {what}", number, recipe.settings.steps)


def draw_here(bench, streams: Sequence[feed.Stream], seed, number: int):
    """The micro-batches of a step, of which this host has its shards."""
    return feed.draw(
        streams,
        bench.tokenizer,
        bench.model.tokens_per_image,
        shards_of(bench.mesh),
        seed,
        number,
        shards_here(bench.mesh),
    )


def compile_together(course: Course, recipe: Recipe, *arguments) -> None:
    """Compiles a step, and waits until all hosts have.

    Who is done first would wait in the step, for longer than its collectives
    allow.
    """
    if hosts.count() > 1:
        recipe.update.lower(*arguments).compile()
        hosts.meet(f"{course.name}: compiled")


def with_reference(
    run: Run, params, stage: Stage, examples: Examples
) -> dict[str, list[Example]]:
    """Examples with the log-probabilities of `params` for their branches."""
    bench, made = run.bench, {}
    for name, found in examples.items():
        images = stage.images_of(name, bench.images)
        used = sorted({i for e in found for i in e.images})
        where = {image: place for place, image in enumerate(used)}
        tokens = None  # of text alone
        if used:
            pixels = fetch(images, used, run.config.image_workers)
            tokens = bench.engine.encode(params, pixels)
        moved = [
            dataclasses.replace(e, images=tuple(where[i] for i in e.images))
            for e in found
        ]
        scores = bench.scorer.score(params, tokens, moved)
        made[name] = [
            dataclasses.replace(e, reference=tuple(s.log_prob for s in score))
            for e, score in zip(found, scores, strict=True)
        ]
    return made


def stage_figures(run: Run, arm: str, iteration: int) -> dict | None:
    """Of all stages of an iteration, for metrics.json; all hosts ask together.

    Returns:
      generated_tokens: said to make examples; trained_tokens; stages: by stage
      what the loss says of its last step. None if those of a stage are torn:
      they are set aside, and the stage is to be trained again.
    """
    folder = run.workdir.iteration(arm, iteration)
    found = hosts.first_says(
        f"{arm} {iteration}: figures",
        lambda: {
            path.parent.name: atomic.read_json(path)
            for phase in ("warm_up", "training")
            for path in sorted((folder / phase).glob("*/figures.json"))
        },
    )
    stages = {name: said for name, said in found.items() if said is not None}
    if len(stages) < len(found):
        return None
    totals = {
        name: sum(figures.pop(name) for figures in stages.values())
        for name in ("generated_tokens", "trained_tokens")
    }
    return {**totals, "stages": stages}


def tidy(run: Run, arm: str, iteration: int) -> None:
    """Deletes what a finished iteration needs no more."""
    if not hosts.is_first():
        return
    folder = run.workdir.iteration(arm, iteration)
    for phase in ("warm_up", "training"):
        for stage in (folder / phase).glob("*"):
            checkpoint.prune(stage)
            checkpoint.delete(stage / "params")


def check_finite(metrics, course: Course, number: int) -> dict[str, float]:
    """The figures of a step.

    Raises:
      DivergedError: its loss is NaN or infinite.
    """
    found = {k: float(v) for k, v in jax.device_get(metrics).items()}
    loss = found["loss"]
    if not np.isfinite(loss):
        raise DivergedError(
            f"The loss of arm {course.arm!r}, iteration {course.iteration}, "
            f"step {number} is {loss}. The run keeps all that was finished "
            "before; lower config.train.learning_rate and start in a new "
            "--workdir."
        )
    logging.vlog(1, "%s step %d: loss %.4f", course.name, number, loss)
    return found
