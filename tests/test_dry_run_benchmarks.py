"""What commands beside main tell of what they would do."""

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
MODEL = ROOT / "tests/reference/data/llava"
# benchmark -> flags, and words that it tells.
TOLD = {
    "checkpoints": (
        ["--scenes=9"],
        "on 9 scenes of either domain, by",
    ),
    "contradictions": (
        ["--scenes=9"],
        "on 9 scenes of either domain, each put openly",
    ),
    "devices": (["--games=32"], "32 games of the shipped base, greedy"),
    "growth": (["--cases=made:1000:1"], "1 cases of 1,000 games in all, "),
    "images": (["--folder=many", "--count=100"], "100 JPEG files, about 0.00 "),
    "loading": (["--gib=4"], "of bfloat16 as float32 on 1 devices: about 8.00"),
    "play": (["--turns=3", "--slots=64"], "64 at once, of 4 of 1000 images"),
    "robot_ranking": (["--runs=one,two"], "0 models of 2 runs would rank"),
    "rollouts": (["--rounds=3", f"--model={MODEL}"], "transformers_one, tr"),
    "seeds": (["--config=scenes", "--seeds=2"], "scenes, 2 times (seeds)"),
    "tasks": (["--base=scenes_tasks", "--scenes=8"], "8 records of 72"),
}
# All in one process: most of the time is spent on starting one.
PROGRAM = """
import contextlib, io, json, pathlib, runpy, sys
from absl import flags
told, known = {}, set(flags.FLAGS)
sys.path.insert(0, sys.argv[1])
for name, given in json.loads(sys.argv[2]).items():
    main = runpy.run_path(f"{sys.argv[1]}/{name}.py")["main"]
    flags.FLAGS([name, "--dry_run", *given])
    with contextlib.redirect_stdout(io.StringIO()) as out:
        main()
    told[name] = out.getvalue()
    for flag in set(flags.FLAGS) - known:
        delattr(flags.FLAGS, flag)
print(json.dumps(told))
"""


@pytest.mark.slow
def test_every_benchmark_tells_what_it_would_do_and_does_nothing(tmp_path):
    names = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    assert names == set(TOLD)
    given = {name: flags for name, (flags, _) in TOLD.items()}
    done = subprocess.run(
        [
            *(sys.executable, "-c", PROGRAM),
            *(ROOT / "benchmarks", json.dumps(given)),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    for name, (_, words) in TOLD.items():
        assert words in told[name], told[name]
        assert "GiB" in told[name]
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_runs_on_several_sources_are_told_source_by_source(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(10):
        (photos / f"{number}.png").touch()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "vlm_games.cross_source"),
            *("--config=cross_source", "--dry_run", "--config.seeds=2"),
            f"--config.sources.photos={photos}",
        ],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for source in ("scenes", "photos"):
        assert f"==== {source}, 2 times (seeds)\n" in done.stdout
        measured = f"Measured on {source}: 512 games on held-out images by each"
        assert f"{measured} of 7 models" in done.stdout
    assert done.stdout.count("FITS") == 2
    assert list(tmp_path.iterdir()) == [photos]
