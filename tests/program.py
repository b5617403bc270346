"""The whole program as a user starts it, tiny: started, ended, killed."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).parents[1]
TINY = (
    "iterations=1",
    "play_images=60",
    "play.slots=16",
    "play.turns=2",
    "game.games=48",
    "game.shard=16",
    "game.judges=1",
    "train.steps=6",
    "train.save_every=2",
    "train.replay_images=24",
    "train.replay_answers=labels",  # the base need not answer first
    "train.rows.describer=4",
    "train.rows.guesser=1",
    "train.rows.replay_answer=4",
    "train.rows.replay_game=1",
    "eval.target_images=24",
    "eval.source_images=24",
    "eval.games=16",
    "eval.guard_games=8",
)


def start(
    workdir, cache, *settings, config="scenes", devices=None, flags=()
) -> subprocess.Popen:
    """The program with TINY and, over these, other settings.

    Args:
      devices: virtual ones of the process. flags: of the program.
    """
    command = [
        *(sys.executable, "-m", "vlm_games.main"),
        f"--config=configs/{config}.py",
        f"--workdir={workdir}",
        *[f"--config.{setting}" for setting in (*TINY, *settings)],
        *flags,
    ]
    # Compiled programs are kept between these runs, which saves minutes.
    environment = {
        **os.environ,
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # what is tiny runs as fast
    }
    if devices:
        environment["JAX_NUM_CPU_DEVICES"] = str(devices)
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(workdir, cache, *settings, config="scenes") -> str:
    """What a run prints that comes to its end."""
    process = start(workdir, cache, *settings, config=config)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    return output


def kill_when(process: subprocess.Popen, sign: pathlib.Path) -> None:
    """Kills a run as soon as a file is there; the run must not end before."""
    until = time.time() + 300
    while not sign.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.time() < until, f"{sign} did not come"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def finish_after_kills(workdir, cache, signs, *settings) -> None:
    """A run killed as each file comes, one after another, and gone on with.

    What was played before the last kill must not be played again.
    """
    for sign in signs:
        kill_when(start(workdir, cache, *settings), workdir / sign)
    shards = workdir.glob("arms/*/*/dialogs/*.jsonl")
    before = {path: path.stat().st_mtime_ns for path in shards}
    finish(workdir, cache, *settings)
    for path, written in before.items():
        assert path.stat().st_mtime_ns == written, f"{path}: made again"


def outcome(workdir) -> dict:
    """All metrics of a run, but for what the clock decides."""
    found = {}
    for path in sorted(pathlib.Path(workdir).glob("arms/*/*/metrics.json")):
        metrics = json.loads(path.read_text())
        for name in ("seconds", "phase_seconds"):
            del metrics[name]
        found[str(path.relative_to(workdir))] = metrics
    return found
