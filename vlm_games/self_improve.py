"""The loop: play -> filter -> fine-tune -> measure, arm by arm, resumable.

What a resume takes first, for each iteration of each arm in order:

    1. metrics.json        the iteration is done: nothing is computed
    2. checkpoint/         it has trained: only the measure is taken
    3. training/step_<n>   it trains on from step n, on the same batches
    4. dialogs/shard_<s>   whole shards are read, the others are played
"""

import contextlib
import dataclasses
import time

from vlm_games.evaluation.game_success import talk_figures
from vlm_games.evaluation.measure import measure
from vlm_games.fine_tune import Trainer, fine_tune, make_trainer
from vlm_games.methods.dialog_games import DialogGames
from vlm_games.methods.method import Method, Selection
from vlm_games.training import checkpoint
from vlm_games.workbench import Run

METHODS = {"dialog_games": DialogGames}


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
        make_trainer(run),
        run.setup.base_params,
    )
    results: dict[str, list[dict]] = {}
    for arm in ("main", *run.config.controls):
        results[arm] = []
        params = shared.base
        for iteration in range(run.config.iterations + 1):
            if iteration == 0 and arm != "main":
                continue
            metrics = run.workdir.metrics(arm, iteration)
            if metrics is None:
                metrics = run_iteration(run, shared, arm, iteration, params)
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
            records = play(run, shared.method, arm, iteration, params)
        with watch.phase("filter"):
            chosen = select(run, shared.method, arm, iteration, records)
        figures = selection_figures(run, records, chosen)
        with watch.phase("train"):
            params = learn(run, shared, arm, iteration, params, chosen)
    run.progress(f"{arm} {iteration}: measure", 0, 1)
    with watch.phase("evaluate"):
        measured = measure(
            run.bench.engine,
            run.bench.scorer,
            run.bench.prompts,
            run.bench.table,
            params,
            shared.base,
            run.setup.held_out,
            guards=arm == "main",
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


class Stopwatch:
    """Wall-clock seconds of named phases."""

    def __init__(self):
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def phase(self, name: str):
        started = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - started, 2)


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
            with run.profiled(f"{arm}/{iteration}/play/{shard}"):
                found = method.candidates(params, prepared, iteration, shard)
            run.workdir.write_shard(owner, iteration, shard, found)
        records += found
    return records


def select(run: Run, method, arm: str, iteration: int, records) -> Selection:
    """What the arm learns from; a control takes as much as main took."""
    budget = None
    if arm != "main":
        budget = run.workdir.metrics("main", iteration)["budget"]
    return method.select(records, arm, iteration, budget)


def selection_figures(run: Run, records, chosen: Selection) -> dict:
    """What metrics.json says of the games and of the filter."""
    filters = chosen.figures.get("filters", {})
    verdict = filters.get(run.config.game.filter, {})
    return {
        "games_played": len(records),
        "games_kept": chosen.kept,
        "budget": chosen.budget,
        **chosen.figures,
        **talk_figures(records),
        "truth_kept": verdict.get("truth_kept"),
        "truth_dropped": verdict.get("truth_dropped"),
    }


def learn(run: Run, shared: Learner, arm: str, iteration: int, params, chosen):
    """Params after fine-tuning, from the checkpoint if there is one."""
    folder = run.workdir.iteration(arm, iteration)
    done = folder / "checkpoint"
    if checkpoint.exists(done):
        params = checkpoint.load(done, shared.base)
    else:
        start = shared.base if run.config.train.start == "base" else params
        params = fine_tune(run, arm, iteration, start, chosen, shared.trainer)
        checkpoint.save(done, params)
    checkpoint.prune(folder / "training")
    return params
