"""The method as a user starts it, killed wherever it is, and resumed."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).parents[1]
TINY = {
    "method": "triangle",
    "iterations": 1,
    "controls": "('bottom',)",
    "play_images": 40,
    "play.slots": 8,
    "play.turns": 1,
    "train.save_every": 2,
    "train.rows.replay_answer": 0,
    "train.rows.replay_game": 0,
    "triangle.images": 32,
    "triangle.shard": 16,
    "triangle.rows": 16,
    "triangle.keep": 0.5,
    "triangle.balance": False,
    "triangle.seeds": 64,
    "triangle.tune.steps": 12,
    "triangle.tune.rows.seed": 16,
    "triangle.learn.steps": 4,
    "triangle.learn.rows.pair": 4,
    "triangle.learn.rows.seed": 4,
    "eval.target_images": 16,
    "eval.source_images": 16,
    "eval.games": 8,
    "eval.guard_games": 8,
}
pytestmark = pytest.mark.slow


def start(workdir, cache) -> subprocess.Popen:
    command = [sys.executable, "-m", "vlm_games.main"]
    command += ["--config=configs/scenes.py", f"--workdir={workdir}"]
    command += [f"--config.{name}={value}" for name, value in TINY.items()]
    environment = {
        **os.environ,
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
    }
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(workdir, cache) -> str:
    process = start(workdir, cache)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    return output


def outcome(workdir) -> dict:
    """All metrics of a run, but for what the clock decides."""
    found = {}
    for path in sorted(pathlib.Path(workdir).glob("arms/*/*/metrics.json")):
        metrics = json.loads(path.read_text())
        for name in ("seconds", "phase_seconds"):
            del metrics[name]
        found[str(path.relative_to(workdir))] = metrics
    return found


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, cache):
    workdir = tmp_path_factory.mktemp("undisturbed")
    return workdir, finish(workdir, cache)


def test_a_run_leaves_what_it_promises(undisturbed):
    workdir, output = undisturbed
    assert "bottom" in output and (workdir / "report.html").is_file()
    found = outcome(workdir)
    main = found["arms/main/iter_001/metrics.json"]
    bottom = found["arms/bottom/iter_001/metrics.json"]
    assert main["games_played"] == 32 and main["games_kept"] > 0
    assert main["budget"] == bottom["budget"]
    assert main["filters"]["triangle"]["kept"] == main["games_kept"]
    assert main["generated_tokens"] > 0
    assert set(main["stages"]) == {"tune", "learn"}
    shards = list(workdir.glob("arms/*/iter_001/dialogs/*.jsonl"))
    assert len(shards) == 2  # of main alone: controls take its pairs


@pytest.mark.parametrize(
    "sign", ["warm_up/tune/step_6", "dialogs/shard_00000.jsonl"]
)
def test_a_killed_run_resumes_to_the_same_metrics(
    sign, tmp_path, cache, undisturbed
):
    process = start(tmp_path, cache)
    until = time.time() + 300
    sign = tmp_path / "arms/main/iter_001" / sign
    while not sign.exists() and time.time() < until:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    shards = tmp_path.glob("arms/*/*/dialogs/*.jsonl")
    before = {path: path.stat().st_mtime_ns for path in shards}
    finish(tmp_path, cache)
    assert outcome(tmp_path) == outcome(undisturbed[0])
    for path, written in before.items():
        assert path.stat().st_mtime_ns == written, "made again"
