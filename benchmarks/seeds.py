"""Runs a config under several seeds and states its gains with intervals.

    python benchmarks/seeds.py --config=configs/controls.py --seeds=5 \
        --workdir=/tmp/seeds --json=docs/results/scenes.json

Each seed is a run of vlm_games.main of its own, resumable like any other;
`--jobs` of them go side by side, each on its own share of the cores. All start
from the same base and are measured on the same held-out scenes; what differs
is every draw of the loop: sets, games, answers, views, batches. With --dry_run
it only tells what a run would do.
"""

import json
import pathlib
import sys

from absl import flags

from vlm_games import command_line
from vlm_games.data.workdir import Workdir
from vlm_games.planning.dry_run import dry_runs
from vlm_games.planning.plan import find_device
from vlm_games.report.intervals import interval
from vlm_games.side_by_side import RunFailedError, run_all, run_flags

_CONFIG = flags.DEFINE_string(
    "config", None, "Config file, or the name of one of ours."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Parent of the runs.")
_SEEDS = flags.DEFINE_integer("seeds", 5, "Number of seeds, from 0.")
_JOBS = flags.DEFINE_integer("jobs", 2, "Runs side by side.")
_JSON = flags.DEFINE_string("json", None, "File of the figures.")
_SET = flags.DEFINE_multi_string("set", [], "More flags, --set=config.x=1.")
_DRY_RUN = command_line.define_dry_run()
_MEMORY, _SPEED = command_line.define_device()

MEASURES = (
    "vqa_yes_no",
    "vqa_other",
    "vqa_sampled_yes_no",
    "vqa_sampled_other",
    "game_success",
    "game_success_likelihood",
    "source_yes_no",
    "source_other",
    "blind_success",
    "cross_success",
    "robot_success",
    "robot_sampled",
    "robot_source_success",
)


def measured(runs, arm: str, measure: str) -> bool:
    """Whether every row of main and of the arm has that measure."""
    rows = [row for r in runs for name in ("main", arm) for row in r[name]]
    return all(row.get(measure) is not None for row in rows)


def aggregate(runs: list[dict[str, list[dict]]]) -> dict:
    """Gains over the base, and main minus each control, paired by seed."""
    base = {m: runs[0]["main"][0].get(m) for m in MEASURES}
    result = {"base": base, "gain": {}, "main_minus": {}}
    for arm in runs[0]:
        rounds = [
            i for i, row in enumerate(runs[0][arm]) if row["iteration"] > 0
        ]
        result["gain"][arm] = {
            m: [
                interval([r[arm][i][m] - r["main"][0][m] for r in runs])
                for i in rounds
            ]
            for m in MEASURES
            if measured(runs, arm, m)
        }
        if arm != "main":
            result["main_minus"][arm] = {
                m: interval([r["main"][-1][m] - r[arm][-1][m] for r in runs])
                for m in MEASURES
                if measured(runs, arm, m)
            }
    last = [r["main"][1]["filters"] for r in runs]
    result["filters"] = {
        name: {
            key: interval([f[name][key] for f in last])
            for key in ("kept", "truth_kept", "truth_dropped", "lift")
            if all(f[name][key] is not None for f in last)
        }
        for name in last[0]
    }
    return result


def markdown(result: dict) -> str:
    """The gains after the last round as a table."""

    def cell(found):
        return f"{found['mean']:+.1f} ± {found['half_width']:.1f}"

    lines = ["| measure | base | " + " | ".join(result["gain"]) + " |"]
    lines.append("|---|" + "---|" * (len(result["gain"]) + 1))
    for m in MEASURES:
        if result["base"][m] is not None:
            cells = [
                cell(rows[m][-1]) if m in rows else "-"
                for rows in result["gain"].values()
            ]
            lines.append(
                f"| {m} | {result['base'][m]:.1f} | " + " | ".join(cells) + " |"
            )
    return "\n".join(lines)


def tell(path: str) -> int:
    """Prints the dry run of one seed; status 1 if it does not fit."""
    device = find_device(None, _MEMORY.value, _SPEED.value)
    found = command_line.load_config(path, _SET.value)
    title = f"{_CONFIG.value}, {_SEEDS.value} times (seeds)"
    text, fits = dry_runs({title: found}, device, pathlib.Path(path).parent)
    print(text)
    return 0 if fits else 1


def main() -> int:
    named = command_line.find_config(_CONFIG.value)
    if _DRY_RUN.value:
        return tell(named)
    if _WORKDIR.value is None:
        raise ValueError("give --workdir, parent of the runs, or --dry_run.")
    root = pathlib.Path(_WORKDIR.value)
    workdirs = [root / f"seed_{seed}" for seed in range(_SEEDS.value)]
    flags_of = {
        workdir: run_flags(named, seed, _SET.value)
        for seed, workdir in enumerate(workdirs)
    }
    run_all(flags_of, _JOBS.value)
    result = aggregate([Workdir(w).metrics_by_arm() for w in workdirs])
    result["command"] = " ".join(["python", *sys.argv])
    print(markdown(result))
    if _JSON.value:
        path = pathlib.Path(_JSON.value)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    command_line.run(main, ["config"], (RunFailedError,))
