"""Compares methods: `python -m vlm_games.compare --config=... --workdir=W`.

Every entry of the config is run under every seed, as a run of vlm_games.main
of its own in W/<entry>/seed_<n>, resumable like any other; `jobs` of them go
side by side, each on its share of the cores. W/comparison.json has all rows,
.md the table, .html the curves.
"""

import json
import os
import pathlib
import queue
import subprocess
import sys
from concurrent import futures

from absl import app, flags, logging
from ml_collections import config_flags
from tqdm import tqdm

from vlm_games.data.workdir import Workdir, WorkdirError
from vlm_games.report import comparison

_CONFIG = config_flags.DEFINE_config_file("config", None, "What to compare.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of all runs.")
_SET = flags.DEFINE_multi_string(
    "set", [], "A field of every run: --set=config.train.steps=10."
)


class RunFailedError(RuntimeError):
    """A run ended before its time; the message has the end of its log."""


def run_one(
    path: str, entry: str, seed: int, workdir: pathlib.Path, cores: set[int]
) -> None:
    """One whole run, on these cores.

    Raises:
      RunFailedError: it failed; started again it resumes.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    log = workdir / "log.txt"
    command = [
        *(sys.executable, "-m", "vlm_games.main"),
        f"--config={path}:{entry}",
        f"--workdir={workdir}",
        f"--config.seed={seed}",
        *[f"--{item}" for item in _SET.value],
    ]
    with open(log, "ab") as file:
        done = subprocess.run(
            command,
            stdout=file,
            stderr=file,
            # A run's threads may use its share of the cores, and no more.
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
    if done.returncode:
        end = log.read_text(errors="replace")[-2000:]
        raise RunFailedError(
            f"{entry}, seed {seed} ended with status {done.returncode}; the "
            f"same command goes on from there. The end of {log}:\n{end}"
        )


def run_all(path: str, config, root: pathlib.Path) -> None:
    """All runs that are not finished, `config.jobs` at a time."""
    cores, jobs = sorted(os.sched_getaffinity(0)), config.jobs
    shares: queue.SimpleQueue[set[int]] = queue.SimpleQueue()
    for job in range(jobs):
        shares.put(set(cores[job::jobs]) or set(cores))

    def work(entry: str, seed: int) -> None:
        mine = shares.get()
        try:
            run_one(path, entry, seed, root / entry / f"seed_{seed}", mine)
        finally:
            shares.put(mine)

    wanted = [(e, s) for s in range(config.seeds) for e in config.entries]
    with futures.ThreadPoolExecutor(jobs) as pool:
        running = [pool.submit(work, *one) for one in wanted]
        bar = tqdm(
            futures.as_completed(running),
            total=len(wanted),
            desc="runs",
            file=sys.stderr,
        )
        for done in bar:
            if error := done.exception():
                pool.shutdown(cancel_futures=True)
                raise error


def read_run(workdir: pathlib.Path) -> dict[str, list[dict]]:
    """Metrics of a run by arm, main first, in order of iteration."""
    arms = sorted((workdir / "arms").iterdir(), key=lambda a: a.name != "main")
    return {
        arm.name: [
            json.loads(path.read_text())
            for path in sorted(arm.glob("iter_*/metrics.json"))
        ]
        for arm in arms
    }


def main(argv) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unknown arguments: {' '.join(argv[1:])}")
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)
    config, root = _CONFIG.value, pathlib.Path(_WORKDIR.value)
    path = config_flags.get_config_filename(flags.FLAGS["config"])
    try:
        Workdir(root).claim(config.to_dict() | {"set": list(_SET.value)})
        run_all(path, config, root)
        runs = {
            entry: [
                read_run(root / entry / f"seed_{seed}")
                for seed in range(config.seeds)
            ]
            for entry in config.entries
        }
        made_for = {
            e: (c.measure, c.control) for e, c in config.entries.items()
        }
        command = " ".join(["python -m vlm_games.compare", *sys.argv[1:]])
        print(comparison.write(root, runs, made_for, command))
    except (WorkdirError, RunFailedError, OSError, ValueError) as error:
        sys.exit(f"vlm_games: {error}")
    print(f"Look at {root / 'comparison.html'}")


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir"])
    app.run(main)
