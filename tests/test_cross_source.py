"""Played on one source, measured on another."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
from PIL import Image
from program import ROOT, TINY

from vlm_games.data.images import RenderedSource
from vlm_games.report import cross_table


def row(measured, played, seed, success, **more):
    found = {"measured_on": measured, "played_on": played, "seed": seed}
    games = {"game_success": success, "game_success_likelihood": success}
    return found | games | more


ROWS = [
    row("scenes", None, None, 30.0, vqa_yes_no=80.0, vqa_other=70.0),
    row("scenes", "scenes", 0, 40.0, vqa_yes_no=82.0, vqa_other=70.0),
    row("scenes", "photos", 0, 31.0, vqa_yes_no=79.0, vqa_other=70.0),
    row("photos", None, None, 25.0),
    row("photos", "scenes", 0, 24.0),
    row("photos", "photos", 0, 35.5),
]


def test_gains_are_over_the_base_on_the_same_images():
    games, _, yes_no, _ = cross_table.markdown(ROWS).split("\n\n")
    assert games.splitlines() == [
        "| Game success on | scenes | photos |",
        "|---|---|---|",
        "| base | 30.0 | 25.0 |",
        "| played on scenes | +10.0 ± 0.0 | -1.0 ± 0.0 |",
        "| played on photos | +1.0 ± 0.0 | +10.5 ± 0.0 |",
    ]
    # Answers are known of scenes alone.
    assert yes_no.splitlines()[0] == "| Yes/no questions on | scenes |"
    assert yes_no.splitlines()[-1] == "| played on photos | -1.0 ± 0.0 |"


def cross(workdir, *flags, code=0) -> str:
    command = [sys.executable, "-m", "vlm_games.cross_source"]
    done = subprocess.run(
        [*command, "--config=cross_source", f"--workdir={workdir}", *flags],
        cwd=ROOT,
        env={
            **os.environ,
            "JAX_COMPILATION_CACHE_DIR": str(workdir.parent / "cache"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def photos(tmp_path) -> pathlib.Path:
    """A folder of images, of which one in five is held out."""
    folder = tmp_path / "photos"
    folder.mkdir()
    source = RenderedSource("source/validation", 30, 48)
    for number in range(len(source)):
        Image.fromarray(source[number]).save(folder / f"{number:02}.png")
    return folder


@pytest.mark.slow
def test_every_run_is_measured_on_every_source(tmp_path, photos):
    flags = [
        f"--config.sources.photos={photos}",
        "--config.seeds=1",
        *(f"--set=config.{item}" for item in TINY),
    ]
    table = cross(tmp_path / "w", *flags)
    assert "| played on photos | " in table
    rows = json.loads((tmp_path / "w" / "cross_source.json").read_text())
    pairs = {(r["played_on"], r["measured_on"]) for r in rows}
    names = ("scenes", "photos")
    assert pairs == {(a, b) for a in (None, *names) for b in names}
    # What a run measured of itself is measured again.
    for name in names:
        run = tmp_path / "w" / name / "seed_0" / "arms" / "main" / "iter_001"
        own = json.loads((run / "metrics.json").read_text())
        (found,) = (
            r for r in rows if (r["played_on"], r["measured_on"]) == (name,) * 2
        )
        assert found["game_success"] == own["game_success"]


@pytest.mark.slow
def test_one_source_is_not_enough(tmp_path):
    assert "for scenes only" in cross(tmp_path / "w", code=1)
