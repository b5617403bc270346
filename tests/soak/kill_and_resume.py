"""Runs that are killed at random moments and resumed, again and again.

    python tests/soak/kill_and_resume.py --trials=200

A trial is a run of the loop of tests/toy.py in a new workdir: it is killed
(-9, or SIGTERM one time in four) once or twice, begun again each time, and must
end in the undisturbed run's result: the same shards, params and summary, bit
for bit. The last line says how many did, as "200 of 200".

A run is a process of its own. It is forked from this one, in which everything
is imported and no device was touched, so that a trial takes a second or two.
"""

import argparse
import collections
import dataclasses
import hashlib
import json
import multiprocessing
import os
import pathlib
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import jax  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
from conftest import WORDS  # noqa: E402
from toy import Bench  # noqa: E402

from vlm_games import report_run  # noqa: E402
from vlm_games.data import atomic  # noqa: E402
from vlm_games.data.tokenizer import word_tokenizer  # noqa: E402
from vlm_games.preemption import EXIT_PREEMPTED, Notice  # noqa: E402
from vlm_games.self_improve import self_improve  # noqa: E402
from vlm_games.training import checkpoint  # noqa: E402

PHASES = ("start", "play", "train", "measure", "save", "write")


def live(workdir: pathlib.Path, events: int) -> None:
    """One process of a run; a byte in `events` for all that it begins."""

    def tell(phase: str) -> None:
        os.write(events, bytes([PHASES.index(phase)]))

    def telling(phase, function):
        def told(*args, **kwargs):
            tell(phase)
            return function(*args, **kwargs)

        return told

    tell("start")
    patch = pytest.MonkeyPatch()
    patch.setattr(checkpoint, "save", telling("save", checkpoint.save))
    patch.setattr(atomic, "write_bytes", telling("write", atomic.write_bytes))
    notice = Notice()
    notice.listen()
    run = Bench(patch).run(
        workdir, lambda what, *done: tell(what.split()[-1]), notice
    )
    run.workdir.claim(run.config.to_dict())
    report_run.finish(run, self_improve(run), 0.0)


class Life:
    """A forked process of a run, and what it told of itself."""

    def __init__(self, workdir: pathlib.Path):
        self.phases: list[str] = []
        self._events, told = os.pipe()
        self._log = workdir.with_name(workdir.name + ".log")
        self._child = os.fork()
        if not self._child:
            self._be(workdir, told)
        os.close(told)

    def _be(self, workdir, told) -> None:
        status = 1
        try:
            log = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(log, 1)
            os.dup2(log, 2)
            live(workdir, told)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)

    def listen(self, seconds: float | None = None, most: int = -1) -> bool:
        """Waits for `most` events, or so long; False once it has ended."""
        until = None if seconds is None else time.monotonic() + seconds
        while most:
            left = None if until is None else max(until - time.monotonic(), 0)
            if not select.select([self._events], [], [], left)[0]:
                return True
            byte = os.read(self._events, 1)
            if not byte:
                return False
            self.phases.append(PHASES[byte[0]])
            most -= 1
        return True

    def end(self, sign: int | None = None) -> int:
        """Its exit code, or minus the signal that ended it."""
        if sign is not None:
            os.kill(self._child, sign)
        self.listen()
        os.close(self._events)
        status = os.waitstatus_to_exitcode(os.waitpid(self._child, 0)[1])
        if status == 1:
            raise RuntimeError(f"A run failed:\n{self._log.read_text()}")
        return status


def result(workdir: pathlib.Path) -> dict[str, str]:
    """What a run leaves, but for what hangs on the clock."""
    found = {}
    for path in sorted(workdir.glob("arms/**/shard_*.jsonl")):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        found[str(path.relative_to(workdir))] = digest
    for path in sorted(workdir.glob("arms/*/*/metrics.json")):
        metrics = json.loads(path.read_text())  # with a digest of the params
        fields = {k: v for k, v in metrics.items() if "seconds" not in k}
        found[str(path.relative_to(workdir))] = json.dumps(fields)
    rows = json.loads((workdir / "summary.json").read_text())
    found["summary.json"] = json.dumps([{**r, "seconds": 0} for r in rows])
    found["report.html"] = str((workdir / "report.html").stat().st_size > 0)
    return found


@dataclasses.dataclass(frozen=True)
class Soak:
    """What all trials share.

    Attributes:
      root: folder of their workdirs. seed: of all that is drawn.
      events: that an undisturbed run tells. gap: mean seconds between them.
      wanted: its result.
    """

    root: pathlib.Path
    seed: int
    events: int
    gap: float
    wanted: dict[str, str]

    def trial(self, number: int) -> tuple[int, list[str], bool]:
        """(its number, where it was killed, whether it ended as wanted)."""
        workdir, attempt, killed = self.root / f"trial_{number:04d}", 0, []
        while not killed:  # one that ended before its time is no trial
            shutil.rmtree(workdir, ignore_errors=True)
            rng = np.random.default_rng([self.seed, number, attempt])
            killed = self._through(workdir, rng)
            attempt += 1
        same = result(workdir) == self.wanted
        if same:
            shutil.rmtree(workdir)
        return number, killed, same

    def _through(self, workdir: pathlib.Path, rng) -> list[str]:
        """One run through its kills to its end; where it was killed."""
        killed: list[str] = []
        kills, events = 1 + (rng.random() < 0.3), self.events
        while True:
            life, sign = Life(workdir), None
            if len(killed) < kills:
                wait = rng.random() * self.gap
                if life.listen(most=rng.integers(1, events)) and life.listen(
                    wait
                ):
                    term = rng.random() < 0.25
                    sign = signal.SIGTERM if term else signal.SIGKILL
            # What is left is told by who goes on.
            events = max(events - len(life.phases), 2)
            status = life.end(sign)
            if status == 0:
                return killed
            if sign is None or status not in (-sign, EXIT_PREEMPTED):
                raise RuntimeError(f"{workdir}: a run ended with {status}.")
            killed.append(life.phases[-1])


def prepare(root: pathlib.Path, seed: int) -> Soak:
    """Runs undisturbed, twice: the first run compiles."""
    word_tokenizer(WORDS.split())  # imports what runs would import
    jax.config.update("jax_num_cpu_devices", 1)
    jax.config.update("jax_disable_most_optimizations", True)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_compilation_cache_dir", str(root / "compiled"))
    Life(root / "first").end()
    started, life = time.monotonic(), Life(root / "undisturbed")
    life.end()
    gap = (time.monotonic() - started) / len(life.phases)
    wanted = result(root / "undisturbed")
    return Soak(root, seed, len(life.phases), gap, wanted)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="side by side")
    asked = parser.parse_args()
    root = pathlib.Path(tempfile.mkdtemp(prefix="kill_and_resume_"))
    soak = prepare(root, asked.seed)
    good, places = 0, collections.Counter()
    started = time.monotonic()
    with multiprocessing.get_context("fork").Pool(asked.jobs) as pool:
        trials = pool.imap_unordered(soak.trial, range(asked.trials))
        for tried, (number, killed, same) in enumerate(trials, 1):
            good += same
            places.update(killed)
            told = "" if same else f"; trial {number} in {root} differs"
            print(
                f"{good} of {tried}, killed in {', '.join(killed)}{told}",
                flush=True,
            )
    told = ", ".join(f"{n} in {p}" for p, n in places.most_common())
    each = (time.monotonic() - started) / max(asked.trials, 1)
    print(f"{sum(places.values())} kills: {told}; {each:.1f} s a trial")
    if good == asked.trials:
        shutil.rmtree(root)
    print(f"{good} of {asked.trials}")
    sys.exit(good != asked.trials)


if __name__ == "__main__":
    main()
