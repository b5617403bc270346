"""The whole program, as a user starts it: results, kills, bad input."""

import json
import re

import numpy as np
import PIL.Image
import pytest
from program import finish, finish_after_kills, outcome, start

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, cache):
    workdir = tmp_path_factory.mktemp("undisturbed")
    output = finish(workdir, cache)
    return workdir, output


def test_a_run_leaves_what_it_promises(undisturbed):
    workdir, output = undisturbed
    rows = json.loads((workdir / "summary.json").read_text())
    assert [row["iteration"] for row in rows] == [0, 1]
    assert set(rows[0]) == {
        "iteration",
        "game_success",
        "vqa_yes_no",
        "vqa_other",
        "source_yes_no",
        "games_played",
        "games_kept",
        "seconds",
    }
    assert rows[0]["games_played"] == 0
    assert (workdir / "report.html").resolve().as_uri() in output
    assert rows[1]["games_played"] == 48
    page = (workdir / "report.html").read_text()
    assert "<script src" not in page and "http://" not in page
    shards = list(workdir.glob("arms/main/iter_001/dialogs/*.jsonl"))
    assert len(shards) == 3
    assert list(workdir.glob("tensorboard/main/*"))
    assert "unfiltered" in output
    assert "48/48" in output and "game/s" in output
    assert not re.search("warn|deprecat|traceback", output, re.I), output


def test_controls_learn_from_as_much_as_main(undisturbed):
    workdir, _ = undisturbed
    budgets = [
        json.loads(path.read_text())["budget"]
        for path in sorted(workdir.glob("arms/*/iter_001/metrics.json"))
    ]
    assert len(budgets) == 2
    assert budgets[0]["describer"] == budgets[1]["describer"]
    assert budgets[0]["kept"] == budgets[1]["kept"]


def test_a_run_killed_in_every_phase_ends_with_the_same_metrics(
    tmp_path, cache, undisturbed
):
    signs = (
        "arms/main/iter_001/dialogs/shard_00000.jsonl",
        "arms/main/iter_001/training/sft/step_2",
        "arms/main/iter_001/checkpoint",
        "arms/unfiltered/iter_001/training/sft/step_4",
    )
    finish_after_kills(tmp_path, cache, signs)
    assert outcome(tmp_path) == outcome(undisturbed[0])


def test_a_finished_run_is_not_computed_again(undisturbed, cache):
    workdir, _ = undisturbed
    path = workdir / "arms/main/iter_001/metrics.json"
    before = path.stat().st_mtime_ns
    finish(workdir, cache)
    assert path.stat().st_mtime_ns == before


def test_photographs_play_and_a_broken_file_is_reported(tmp_path, cache):
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(14):
        pixels = rng.integers(0, 255, (48, 64 + i, 3), np.uint8)
        PIL.Image.fromarray(pixels).save(folder / f"{i:02d}.png")
    (folder / "broken.jpg").write_bytes(b"no image at all")
    settings = (f"images={folder}", "controls=()")
    settings += ("train.replay_answers=openly",)  # as by default
    output = finish(tmp_path / "run", cache, *settings)
    assert "1 files were no readable images" in output
    assert "broken.jpg" in (tmp_path / "run/report.html").read_text()


def test_the_papers_recipe_runs(tmp_path, cache):
    settings = ("game.judges=0", "controls=('lost','shuffled')")
    profiled = ("main/1/play/1", "lost/1/train/2")
    settings += ("play.top_k=8", "play.top_p=0.9", f"profile={profiled}")
    output = finish(tmp_path, cache, *settings, config="paper")
    assert "shuffled" in output
    traces = tmp_path.glob("profile/**/*.xplane.pb")
    assert {
        p.relative_to(tmp_path).as_posix()[8:].partition("/plugins")[0]
        for p in traces
    } == set(profiled)
    path = tmp_path / "arms/main/iter_001/metrics.json"
    assert "views" not in json.loads(path.read_text())["filters"]


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("game.filter=sucess", "'success'"),
        ("images=/no/such/folder", "/no/such/folder"),
        ("base=/no/such/model", "no config.json"),
        ("play.top_p=0", "top_p above 0"),
        ("profile=('play',)", "main/1/play/0"),
        ("seeed=1", "seed"),
    ],
)
def test_bad_input_is_told_without_a_trace(setting, told, tmp_path, cache):
    process = start(tmp_path, cache, setting)
    output, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert told in output
    if not setting.startswith("seeed"):
        assert "Traceback" not in output


def test_another_config_in_the_same_workdir_is_refused(undisturbed, cache):
    process = start(undisturbed[0], cache, "train.steps=7")
    output, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "train.steps: 6 there, 7 now" in output
