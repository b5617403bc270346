"""Several runs of vlm_games.main at once, each on its share of the cores."""

import os
import pathlib
import queue
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent import futures

from absl import logging
from tqdm import tqdm


class RunFailedError(RuntimeError):
    """A run ended before its time; the message has the end of its log."""


def run_flags(named: str, seed: int, fields: Sequence[str]) -> list[str]:
    """Flags of a run of vlm_games.main, but for its workdir.

    Args:
      named: its config. fields: of it, such as "config.train.steps=10".
    """
    return [
        f"--config={named}",
        f"--config.seed={seed}",
        *(f"--{item}" for item in fields),
        f"--verbosity={logging.get_verbosity()}",
    ]


def run_all(runs: Mapping[pathlib.Path, Sequence[str]], jobs: int) -> None:
    """Runs all, `jobs` at a time; those that are finished end at once.

    Args:
      runs: workdir -> the other flags of the run.

    Raises:
      RunFailedError: one failed; the others under way come to their end.
    """
    cores = sorted(os.sched_getaffinity(0))
    shares: queue.SimpleQueue[set[int]] = queue.SimpleQueue()
    for job in range(jobs):
        shares.put(set(cores[job::jobs]) or set(cores))

    def work(workdir: pathlib.Path, flags: Sequence[str]) -> None:
        mine = shares.get()
        try:
            _run(workdir, flags, mine)
        finally:
            shares.put(mine)

    with futures.ThreadPoolExecutor(jobs) as pool:
        running = [pool.submit(work, *one) for one in runs.items()]
        done = futures.as_completed(running)
        for found in tqdm(done, "runs", len(running), file=sys.stderr):
            if error := found.exception():
                pool.shutdown(wait=False, cancel_futures=True)
                raise error


def _run(workdir: pathlib.Path, flags: Sequence[str], cores: set[int]) -> None:
    """One whole run, on these cores; what it prints goes to its log."""
    workdir.mkdir(parents=True, exist_ok=True)
    log = workdir / "log.txt"
    command = [sys.executable, "-m", "vlm_games.main", f"--workdir={workdir}"]
    # Of this thread, and so of the process that it starts.
    os.sched_setaffinity(0, cores)
    with open(log, "ab") as file:
        done = subprocess.run([*command, *flags], stdout=file, stderr=file)
    if done.returncode:
        end = log.read_text(errors="replace")[-2000:]
        raise RunFailedError(
            f"The run in {workdir} ended with status {done.returncode}; the "
            f"same command goes on from there. The end of {log}:\n{end}"
        )
