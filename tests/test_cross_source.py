"""Played on one source, measured on another."""

import pathlib
import subprocess
import sys

import jax
import made_run
import numpy as np
import program
import pytest
from PIL import Image

from vlm_games import cross_measure
from vlm_games.data.images import RenderedSource
from vlm_games.data.workdir import Workdir
from vlm_games.report import cross_table
from vlm_games.training import checkpoint
from vlm_games.workbench import build


def row(measured, played, seed, success, arm="main", **more):
    found = {"measured_on": measured, "played_on": played, "seed": seed}
    found["arm"] = None if seed is None else arm
    games = {"game_success": success, "game_success_likelihood": success}
    return found | games | more


ROWS = [
    row("scenes", None, None, 30.0, vqa_yes_no=80.0, vqa_other=70.0),
    row("scenes", "scenes", 0, 40.0, vqa_yes_no=82.0, vqa_other=70.0),
    row("scenes", "photos", 0, 31.0, vqa_yes_no=79.0, vqa_other=70.0),
    row("photos", None, None, 25.0),
    row("photos", "scenes", 0, 24.0),
    row("photos", "photos", 0, 35.5),
    row("scenes", None, 0, 31.0, "replay_only", vqa_yes_no=80, vqa_other=70.0),
    row("scenes", None, 1, 31.0, "replay_only", vqa_yes_no=80, vqa_other=70.0),
    row("photos", None, 0, 25.5, "replay_only"),
    row("scenes", "photos", 0, 30.0, "lost", vqa_yes_no=79.5, vqa_other=70.0),
    row("photos", "photos", 0, 25.0, "lost"),
]


def test_gains_are_over_the_base_on_the_same_images():
    games, _, yes_no, _ = cross_table.markdown(ROWS).split("\n\n")
    assert games.splitlines() == [
        "| Game success on | scenes | photos |",
        "|---|---|---|",
        "| base | 30.0 | 25.0 |",
        "| played on scenes | +10.0 ± 0.0 | -1.0 ± 0.0 |",
        "| played on photos | +1.0 ± 0.0 | +10.5 ± 0.0 |",
        "| replay_only | +1.0 ± 0.0 | +0.5 ± 0.0 |",
        "| played on photos, lost | +0.0 ± 0.0 | +0.0 ± 0.0 |",
    ]
    # Answers are known of scenes alone.
    assert yes_no.splitlines()[0] == "| Yes/no questions on | scenes |"
    assert yes_no.splitlines()[-1] == "| played on photos, lost | -0.5 ± 0.0 |"


def test_what_plays_nothing_is_run_once():
    controls = 'config.controls=("replay_only","unfiltered")'
    fields = {name: [controls] for name in ("scenes", "photos", "aloha")}
    left = cross_measure.playing_controls(
        fields, str(program.ROOT / "configs/scenes.py")
    )
    assert left == {"photos": ("unfiltered",), "aloha": ("unfiltered",)}


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
@pytest.mark.usefixtures("quick_compiles")
def test_every_run_is_measured_on_every_source(tmp_path, photos):
    """Of runs that learned nothing and of one that lost its eyes."""
    configs = {
        name: made_run.make_config(
            images=images,
            iterations=1,
            eval__games=16,
            game__games=4,
            controls=controls,
        )
        for name, images, controls in (
            ("scenes", "", ("replay_only",)),
            ("photos", str(photos), ()),
        )
    }
    base = build(configs["scenes"]).base_params
    blind = base | {"vision": jax.tree.map(np.zeros_like, base["vision"])}
    for source, params in (("scenes", base), ("photos", blind)):
        workdir = Workdir(cross_measure.folder_of(tmp_path, source, 0))
        for iteration in range(2):
            folder = workdir.iteration("main", iteration)
            checkpoint.save(folder / "checkpoint", params)
            answers = {"vqa_yes_no": 80.0 + iteration, "vqa_other": 70.0}
            workdir.write_metrics("main", iteration, answers)
    alone = Workdir(cross_measure.folder_of(tmp_path, "scenes", 0))
    folder = alone.iteration("replay_only", 1)
    checkpoint.save(folder / "checkpoint", blind)
    alone.write_metrics("replay_only", 1, answers | {"vqa_yes_no": 79.0})
    rows = {
        (r["measured_on"], r["played_on"] or r["arm"]): r
        for r in cross_measure.measure_all(tmp_path, configs, 1)
    }
    names = ("scenes", "photos")
    models = (None, *names, "replay_only")
    assert rows.keys() == {(a, b) for a in names for b in models}
    for name in names:
        of_base, same, other = (rows[name, b] for b in (None, *names))
        for key in cross_table.GAMES:
            assert same[key] == of_base[key]
        assert other["game_turns"] != of_base["game_turns"]
        assert rows[name, "replay_only"]["game_turns"] == other["game_turns"]
    assert rows["scenes", None]["vqa_yes_no"] == 80.0
    assert rows["scenes", "photos"]["vqa_yes_no"] == 81.0
    assert rows["scenes", "replay_only"]["vqa_yes_no"] == 79.0
    assert "vqa_yes_no" not in rows["photos", None]


@pytest.mark.slow
def test_one_source_is_not_enough(tmp_path):
    command = [sys.executable, "-m", "vlm_games.cross_source"]
    flags = ["--config=cross_source", f"--workdir={tmp_path / 'w'}"]
    done = subprocess.run([*command, *flags], capture_output=True, text=True)
    assert done.returncode == 1
    assert "for scenes only" in done.stderr
    assert not (tmp_path / "w").exists()
