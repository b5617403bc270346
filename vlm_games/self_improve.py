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
import pathlib
import time
from collections.abc import Sequence

from vlm_games import hosts
from vlm_games.data.stored import Stored
from vlm_games.data.workdir import WorkdirError
from vlm_games.evaluation.measure import count_parts, measure
from vlm_games.evaluation.speaker import Speaker
from vlm_games.fine_tune import Course, fine_tune, stage_figures, tidy
from vlm_games.methods.method import MAIN, Method, Selection
from vlm_games.methods.registry import METHODS, arms_of
from vlm_games.trainer import Trainer
from vlm_games.training import checkpoint
from vlm_games.training.average import toward_base
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
            metrics = find_metrics(run, arm, iteration)
            if metrics is None:
                metrics = run_iteration(run, shared, arm, iteration, params)
            elif iteration:
                mend(run, shared, arm, iteration, params)
            results[arm].append(metrics)
            if iteration:
                path = run.workdir.iteration(arm, iteration) / "checkpoint"
                params = run.load_params(path)
    return results


def run_iteration(
    run: Run, shared: Learner, arm: str, iteration: int, params
) -> dict:
    """One iteration of one arm, from wherever it was left; its metrics.

    Candidates are made by all hosts, each some of the shards; chosen by all,
    which choose the same; learned by all together; measured by one.
    """
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

    def conclude() -> dict:
        with watch.phase("evaluate"):
            measured = take_measure(run, shared, arm, iteration, params)
        metrics = {
            "iteration": iteration,
            **measured,
            **figures,
            "seconds": round(sum(watch.seconds.values()), 1),
            "phase_seconds": watch.seconds,
        }
        run.workdir.write_metrics(arm, iteration, metrics)
        return metrics

    return hosts.first_says(f"{arm} {iteration}: measured", conclude)


def find_metrics(run: Run, arm: str, iteration: int) -> dict | None:
    """Those of a finished iteration; all hosts ask together."""
    return hosts.first_says(
        f"{arm} {iteration}: metrics",
        lambda: run.workdir.metrics(arm, iteration),
    )


def take_measure(
    run: Run, shared: Learner, arm: str, iteration: int, params
) -> dict:
    """What metrics.json says of the model."""
    bench, guards = run.bench, arm == MAIN
    done, parts = itertools.count(), count_parts(run.setup.held_out, guards)

    def part_done():
        run.progress(f"{arm} {iteration}: measure", next(done), parts)

    part_done()  # none yet
    return measure(
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


def mend(run: Run, shared: Learner, arm: str, iteration: int, params) -> None:
    """Makes again what a finished iteration has lost, by what it still has."""
    path = run.workdir.iteration(arm, iteration) / "checkpoint"
    whole = checkpoint.find(path)
    torn = hosts.first_says(
        f"{arm} {iteration}: torn",
        lambda: run.workdir.has_torn_shard(arm, iteration),
    )
    if whole and not torn:
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


def play(
    run: Run, shared: Learner, arm: str, iteration: int, params
) -> Sequence:
    """All candidates of an iteration; those on disk are not made again.

    In the first iteration every arm's model is the base, so that controls
    take main's candidates.
    """
    method, limit = shared.method, run.config.generated_tokens
    if arm in method.idle:
        return []
    maker = Maker(run, shared, arm, iteration, params)
    # With a limit no more are made at a time than one by each host.
    step = hosts.count() if limit else max(method.shards(), 1)
    records, said = Stored(method.record), 0
    for first in range(0, method.shards(), step):
        shards = range(first, min(first + step, method.shards()))
        maker.make(shards)
        for shard in shards:
            before = len(records)
            records.add(*maker.lines(shard))
            if limit:
                said += sum(map(method.tokens_said, records[before:]))
            if 0 < limit <= said:
                maker.drop_after(shard)
                return records
    return records


class Maker:
    """Makes the candidates of one iteration that are not on disk."""

    def __init__(
        self, run: Run, shared: Learner, arm: str, iteration: int, params
    ):
        self._run, self._shared, self._params = run, shared, params
        self._arm, self._iteration = arm, iteration
        self._owner = MAIN if iteration == 1 else arm
        self._player = self._prepared = None
        self._there = 0  # candidates, for the progress

    def make(self, shards: Sequence[int]) -> None:
        """Each host makes its share of those that are missing."""
        there: dict[int, int | None] = {}  # of a shard, how many candidates

        def look() -> list[int]:
            for shard in shards:
                lines = self._read(shard)
                there[shard] = None if lines is None else len(lines)
            return [shard for shard, count in there.items() if count is None]

        name = f"{self._arm} {self._iteration}"
        missing = hosts.first_says(f"{name}: missing", look)
        self._there += sum(count or 0 for count in there.values())
        if missing and self._player is None:
            self._player = warm_up(
                self._run,
                self._shared,
                self._owner,
                self._iteration,
                self._params,
            )
        for shard in hosts.share(missing):
            self._write(shard)
        hosts.meet(f"{name}: played")

    def drop_after(self, shard: int) -> None:
        """Deletes what other hosts made meanwhile and nobody learns from."""
        hosts.meet(f"{self._arm} {self._iteration}: all have read")
        if hosts.is_first():
            self._run.workdir.drop_after(self._owner, self._iteration, shard)

    def _read(self, shard: int) -> list[bytes] | None:
        return self._run.workdir.read_shard(self._owner, self._iteration, shard)

    def lines(self, shard: int) -> tuple[pathlib.Path, list[bytes]]:
        """A shard that is made, as `Stored.add` takes it.

        What this host made is read as well: a resumed run has no other.
        """
        path = self._run.workdir.shard_path(self._owner, self._iteration, shard)
        found = self._read(shard)
        if found is None:
            raise WorkdirError(
                f"Shard {shard} of {self._run.workdir.root} was written and is "
                "not to be read. All hosts need one --workdir that they share."
            )
        return path, found

    def _write(self, shard: int) -> None:
        run, method = self._run, self._shared.method
        what = f"{self._arm} {self._iteration}: play"

        def tell(count: int) -> None:
            """The other hosts are about as far as this one."""
            there = self._there + hosts.count() * count
            run.progress(what, min(there, method.count), method.count)

        tell(0)
        if self._prepared is None:
            self._prepared = method.prepare(self._player, self._iteration)
        step = f"{self._arm}/{self._iteration}/play/{shard}"
        with run.profiled(step):
            made = method.candidates(
                self._player, self._prepared, self._iteration, shard, tell
            )
        self._there += hosts.count() * len(made)
        run.workdir.write_shard(self._owner, self._iteration, shard, made)


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
        main = find_metrics(run, MAIN, iteration) or {}
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
    """Params after fine-tuning, from the checkpoint if there is one.

    `config.train.base_share` draws what was learned back to the base.
    """
    folder = run.workdir.iteration(arm, iteration)
    course, done = Course(arm, iteration, "training"), folder / "checkpoint"
    if checkpoint.find(done) and stage_figures(run, arm, iteration) is not None:
        params = run.load_params(done)
    else:
        c = run.config.train
        start = shared.base if c.start == "base" else params
        with run.notice.held():
            params = fine_tune(
                run, shared.trainer, course, start, chosen.stages
            )
            if c.base_share and params is not start:
                params = toward_base(params, shared.base, c.base_share)
            run.save_params(done, params)
    tidy(run, arm, iteration)
    return params
