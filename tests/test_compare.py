"""Methods beside one another: what the rows, gains and sentences stand for."""

import json
import os
import pathlib
import re
import runpy

import pytest

from vlm_games import choices
from vlm_games.report import comparison
from vlm_games.side_by_side import RunFailedError, run_all

CONFIG = pathlib.Path(__file__).parents[1] / "configs" / "compare.py"


def metrics(iteration, yes_no, **more):
    return {
        "iteration": iteration,
        "vqa_yes_no": yes_no,
        "generated_tokens": 100 * iteration,
        "seconds": 5.0,
    } | more


def run(*gains, control=0.0, base=70.0):
    """A run whose main arm has these gains by round."""
    return {
        "main": [metrics(i, base + g) for i, g in enumerate((0.0, *gains))],
        "swapped": [
            metrics(i, base + control) for i in range(1, len(gains) + 1)
        ],
    }


RUNS = {
    "stic": [run(1.0, 2.0), run(1.0, 3.0), run(1.0, 4.0)],
    "<b>": [run(0.5, 1.0, control=2.0)] * 3,
}
MADE_FOR = {"stic": ("vqa_yes_no", "swapped"), "<b>": ("vqa_yes_no", "swapped")}


def test_a_row_is_one_round_of_one_arm_of_one_seed():
    found = comparison.rows(RUNS)
    assert len(found) == 2 * 3 * (3 + 2)
    keys = [(r["method"], r["arm"], r["seed"], r["round"]) for r in found]
    assert len(set(keys)) == len(keys)
    assert found[2]["vqa_yes_no"] == 72.0
    assert found[2]["game_success"] is None


def test_gains_are_over_the_base_of_the_same_seed():
    shifted = {"stic": [run(1.0, base=60.0), run(2.0, base=80.0)]}
    (gain,) = comparison.gains(
        comparison.rows(shifted), "stic", "main", "vqa_yes_no"
    )
    assert gain["values"] == [1.0, 2.0]


def test_a_measure_that_was_not_taken_has_no_gain():
    found = comparison.rows(RUNS)
    assert comparison.gains(found, "stic", "main", "game_success") == []


def test_rows_of_a_file_may_lack_a_measure_of_today():
    found = comparison.rows(RUNS)
    cells = comparison.cells_of(found)
    for row in found:
        del row["game_success"]
    assert comparison.cells_of(found) == cells


def test_a_method_is_set_against_its_broken_control():
    told = comparison.verdicts(comparison.rows(RUNS), MADE_FOR)
    assert told[0]["gain"]["values"] == [2.0, 3.0, 4.0]
    assert told[1]["over_control"]["values"] == [-1.0] * 3


def test_what_is_not_clear_is_called_so(tmp_path):
    text = comparison.write(tmp_path, RUNS, MADE_FOR, "command")
    first, second = text.splitlines()[-2:]
    assert first.startswith("stic: vqa_yes_no +3.0 ± 2.5 over the base, ")
    assert "not clear" not in first
    assert second.endswith("-1.0 ± 0.0 over swapped (not clear)")


def test_an_entry_without_a_control_is_set_against_the_base_alone(tmp_path):
    alone = {"stic": [{"main": run["main"]} for run in RUNS["stic"]]}
    text = comparison.write(tmp_path, alone, {"stic": ("vqa_yes_no", "")}, "")
    assert text.endswith("stic: vqa_yes_no +3.0 ± 2.5 over the base")


def test_the_files_hold_all_rows_and_no_markup_of_the_run(tmp_path):
    comparison.write(tmp_path, RUNS, MADE_FOR, "command <i>")
    found = json.loads((tmp_path / "comparison.json").read_text())
    assert found == comparison.rows(RUNS)
    page = (tmp_path / "comparison.html").read_text()
    assert "<b></td>" not in page and "&lt;b&gt;" in page
    assert len(re.findall("<svg class=.chart", page)) == 1
    table = (tmp_path / "comparison.md").read_text()
    assert "| stic | main | +3.0 ± 2.5 |" in table


ENTRIES = tuple(runpy.run_path(str(CONFIG))["ENTRIES"])


def test_the_sweep_sets_the_paper_s_share_alone_against_the_bottom():
    get_config = runpy.run_path(str(CONFIG.with_name("triangle_sweep.py")))[
        "get_config"
    ]
    for name, entry in get_config().entries.items():
        made = get_config(name)
        assert made.controls == ((entry.control,) if entry.control else ())
        assert bool(entry.control) == (made.triangle.keep == 0.2)


def test_combinations_are_dialog_games_with_their_budget():
    get_config = runpy.run_path(str(CONFIG))["get_config"]
    plain = get_config("dialog_games")
    for entry in [e for e in ENTRIES if e.startswith("games_")]:
        c = get_config(entry)
        choices.check(c)
        assert c.game.consistent or c.game.corrupted
        c.game.consistent = c.game.corrupted = 0.0
        c.controls = plain.controls
        assert c == plain


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_entry_trains_on_as_many_tokens(entry):
    """Rows x tokens x steps of what an entry's stages compute, replay too."""
    get_config = runpy.run_path(str(CONFIG))["get_config"]
    c = get_config(entry)
    lengths, rows = c.train.lengths, c.train.rows

    def of(names):
        return sum(rows[n] * lengths[n] for n in names)

    def own(stage):
        return sum(stage.rows[n] * stage.lengths[n] for n in stage.rows)

    replay = of(("replay_answer", "replay_game"))
    total = {
        "dialog_games": c.train.steps * (replay + of(("describer", "guesser"))),
        "stic": c.stic.prefer.steps * own(c.stic.prefer)
        + c.stic.infuse.steps * (replay + own(c.stic.infuse)),
        "triangle": c.triangle.tune.steps * (replay + own(c.triangle.tune))
        + c.triangle.learn.steps * (replay + own(c.triangle.learn)),
        "text": c.text.learn.steps * own(c.text.learn),
    }[c.method]
    assert total == pytest.approx(331_000, rel=0.01)


# Runs side by side ------------------------------------------------------------


def program(tmp_path, monkeypatch, body: str):
    """A program in the place of vlm_games.main."""
    package = tmp_path / "fake" / "vlm_games"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "main.py").write_text("import os, pathlib, sys\n" + body)
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    # The folder of the tests' own package is no place to look in.
    monkeypatch.chdir(tmp_path)


def test_every_run_has_its_workdir_its_flags_and_its_cores(
    tmp_path, monkeypatch
):
    told = "print(*sys.argv[1:], len(os.sched_getaffinity(0)), sep='\\n')"
    program(tmp_path, monkeypatch, told)
    share = max(len(os.sched_getaffinity(0)) // 2, 1)
    runs = {tmp_path / str(i): [f"--config.seed={i}"] for i in range(3)}
    run_all(runs, 2)
    for i, workdir in enumerate(runs):
        told = (workdir / "log.txt").read_text().splitlines()
        assert told[:2] == [f"--workdir={workdir}", f"--config.seed={i}"]
        assert share <= int(told[2]) <= share + 1


def test_a_run_that_fails_is_named_with_the_end_of_its_log(
    tmp_path, monkeypatch
):
    program(tmp_path, monkeypatch, "sys.exit('the disk is full')")
    with pytest.raises(RunFailedError, match="(?s)bad.*status 1.*disk is full"):
        run_all({tmp_path / "bad": []}, 1)
