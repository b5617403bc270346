"""The loop: candidates, filter, fine-tune, measure; arm by arm, resumable.

What a resume takes first, for each iteration of each arm in order:

    1. metrics.json        the iteration is done: nothing is computed
    2. checkpoint/         it has trained: only the measure is taken
    3. training/<stage>/   stages that are done, then step_<n> of the next: it
                           trains on from there, on the same batches
    4. dialogs/shard_<s>   whole shards are read, the others are made
    5. warm_up/<stage>/    as 3, of the model that makes candidates
"""

import contextlib
import dataclasses
import itertools
import time

from vlm_games.evaluation.measure import count_parts, measure
from vlm_games.evaluation.speaker import Speaker
from vlm_games.fine_tune import Course, fine_tune, stage_figures, tidy
from vlm_games.methods.method import MAIN, Method, Selection
from vlm_games.methods.registry import METHODS, arms_of
from vlm_games.trainer import Trainer
from vlm_games.training import checkpoint
from vlm_games.workbench import Run


@dataclasses.dataclass(frozen=True)
class Learner:
    """What all arms and iterations share.

    Attributes:
      method: makes and chooses examples. trainer: learns them.
      base: params of iteration 0, on the devices.
    """

    method: Method
    trainer: Trainer
    base: object


def self_improve(run: Run) -> dict[str, list[dict]]:
    """Runs or resumes every arm; returns the metrics by arm and iteration."""
    shared = Learner(
        METHODS[run.config.method](run.bench),
        Trainer(run),
        run.setup.base_params,
    )
    results: dict[str, list[dict]] = {}
    for arm in arms_of(run.config):
        results[arm] = []
        params = shared.base
        for iteration in range(run.config.iterations + 1):
            if iteration == 0 and arm != MAIN:
                continue
            metrics = run.workdir.metrics(arm, iteration)
            if metrics is None:
                metrics = run_iteration(run, shared, arm, iteration, params)
            elif iteration:
                mend(run, shared, arm, iteration, params)
            results[arm].append(metrics)
            if iteration:
                path = run.workdir.iteration(arm, iteration) / "checkpoint"
                params = checkpoint.load(path, shared.base)
    return results


def run_iteration(
    run: Run, shared: Learner, arm: str, iteration: int, params
) -> dict:
    """One iteration of one arm, from wherever it was left; its metrics."""
    watch = Stopwatch()
    figures: dict = {"games_played": 0, "games_kept": 0}
    if iteration:
        with watch.phase("play"):
            records = play(run, shared, arm, iteration, params)
        with watch.phase("filter"):
            chosen = select(run, shared.method, arm, iteration, records)
        figures = candidate_figures(shared.method, records, chosen)
        with watch.phase("train"):
            params = learn(run, shared, arm, iteration, params, chosen)
        trained = stage_figures(run, arm, iteration)
        if trained is None:
            raise RuntimeError(
                f"{arm} {iteration}: the figures.json of a stage was torn "
                "since it trained; start the run again to mend it."
            )
        trained["generated_tokens"] += figures["generated_tokens"]
        figures |= trained
    bench, guards = run.bench, arm == MAIN
    done, parts = itertools.count(), count_parts(run.setup.held_out, guards)

    def part_done():
        run.progress(f"{arm} {iteration}: measure", next(done), parts)

    part_done()  # none yet
    with watch.phase("evaluate"):
        measured = measure(
            speaker=Speaker(
                bench.engine,
                bench.tokenizer,
                bench.prompts,
                bench.instructions,
                run.config.eval.rows,
            ),
            scorer=bench.scorer,
            table=bench.table,
            params=params,
            base_params=shared.base,
            held_out=run.setup.held_out,
            guards=guards,
            part_done=part_done,
        )
    metrics = {
        "iteration": iteration,
        **measured,
        **figures,
        "seconds": round(sum(watch.seconds.values()), 1),
        "phase_seconds": watch.seconds,
    }
    run.workdir.write_metrics(arm, iteration, metrics)
    return metrics


def mend(run: Run, shared: Learner, arm: str, iteration: int, params) -> None:
    """Makes again what a finished iteration has lost, by what it still has."""
    path = run.workdir.iteration(arm, iteration) / "checkpoint"
    whole = checkpoint.find(path)
    if whole and not run.workdir.has_torn_shard(arm, iteration):
        return
    records = play(run, shared, arm, iteration, params)
    if not whole:
        chosen = select(run, shared.method, arm, iteration, records)
        learn(run, shared, arm, iteration, params, chosen)
    tidy(run, arm, iteration)


class Stopwatch:
    """Wall-clock seconds of named phases."""

    def __init__(self):
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def phase(self, name: str):
        started = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - started, 2)


def play(run: Run, shared: Learner, arm: str, iteration: int, params) -> list:
    """All candidates of an iteration; those on disk are not made again.

    In the first iteration every arm's model is the base, so that controls
    take main's candidates.
    """
    method, workdir = shared.method, run.workdir
    if arm in method.idle:
        return []
    owner = MAIN if iteration == 1 else arm
    records, said, prepared = [], 0, None
    for shard in range(method.shards()):
        run.progress(f"{arm} {iteration}: play", shard, method.shards())
        found = workdir.read_shard(owner, iteration, shard, method.record)
        if found is None:
            if prepared is None:
                player = warm_up(run, shared, owner, iteration, params)
                prepared = method.prepare(player, iteration)
            with run.profiled(f"{arm}/{iteration}/play/{shard}"):
                found = method.candidates(player, prepared, iteration, shard)
            workdir.write_shard(owner, iteration, shard, found)
        records += found
        said += sum(method.tokens_said(record) for record in found)
        if 0 < run.config.generated_tokens <= said:
            break
    return records


def warm_up(run: Run, shared: Learner, arm: str, iteration: int, params):
    """Params of the model that makes the candidates."""
    stages = shared.method.warm_up(arm, iteration)
    course = Course(arm, iteration, "warm_up")
    with run.notice.held():
        return fine_tune(run, shared.trainer, course, params, stages)


def select(run: Run, method, arm: str, iteration: int, records) -> Selection:
    """What the arm learns from; a control takes as much as main took."""
    budget = None
    if arm != MAIN:
        main = run.workdir.metrics(MAIN, iteration) or {}
        budget = main["budget"]
    return method.select(records, arm, iteration, budget)


def candidate_figures(method: Method, records, chosen: Selection) -> dict:
    """What metrics.json says of the candidates and of the filter."""
    return {
        "games_played": len(records),
        "games_kept": chosen.kept,
        "generated_tokens": sum(method.tokens_said(r) for r in records),
        "budget": dict(chosen.budget),
        **chosen.figures,
    }


def learn(run: Run, shared: Learner, arm: str, iteration: int, params, chosen):
    """Params after fine-tuning, from the checkpoint if there is one."""
    folder = run.workdir.iteration(arm, iteration)
    course, done = Course(arm, iteration, "training"), folder / "checkpoint"
    if checkpoint.find(done) and stage_figures(run, arm, iteration) is not None:
        params = checkpoint.load(done, shared.base)
    else:
        start = shared.base if run.config.train.start == "base" else params
        with run.notice.held():
            params = fine_tune(
                run, shared.trainer, course, start, chosen.stages
            )
            checkpoint.save(done, params)
    tidy(run, arm, iteration)
    return params
