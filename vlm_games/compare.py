"""Compares methods: runs every entry of a config under every seed.

    python -m vlm_games.compare --config=compare --workdir=/tmp/compare

Each is a run of vlm_games.main of its own in W/<entry>/seed_<n>, resumable like
any other; `config.jobs` of them go side by side, each on its share of the
cores. W/comparison.json has all rows, .md the table, .html the curves. With
--dry_run it only tells what every entry would do.
"""

import pathlib
import sys

from absl import flags
from ml_collections import config_flags

from vlm_games import command_line
from vlm_games.data import storage
from vlm_games.data.workdir import Workdir, WorkdirError
from vlm_games.planning.dry_run import dry_runs
from vlm_games.planning.plan import find_device
from vlm_games.report import comparison
from vlm_games.side_by_side import RunFailedError, run_all, run_flags

_CONFIG = command_line.define_config()
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of all runs.")
_SET = flags.DEFINE_multi_string(
    "set", [], "A field of every run: --set=config.train.steps=10."
)
_DRY_RUN = command_line.define_dry_run()
_MEMORY, _SPEED = command_line.define_device()


def main() -> int:
    config = _CONFIG.value
    path = config_flags.get_config_filename(flags.FLAGS["config"])
    if "entries" not in config:
        raise ValueError(
            f"{path} compares nothing: it has no `entries`. Take one like "
            "--config=compare; a single run is python -m vlm_games.main."
        )
    for entry in config.entries:  # what is wrong is said before the first run
        command_line.load_config(f"{path}:{entry}", _SET.value)
    if _DRY_RUN.value:
        return tell(config, path)
    if _WORKDIR.value is None:
        raise ValueError(
            "give --workdir, the folder of all runs, or --dry_run."
        )
    print(compare(config, path, storage.local("--workdir", _WORKDIR.value)))
    return 0


def compare(config, path: str, root: pathlib.Path) -> str:
    """Runs what is not there yet; the table and where to look."""
    Workdir(root).claim(config.to_dict() | {"set": list(_SET.value)})
    seeds = range(config.seeds)
    run_all(
        {
            root / entry / f"seed_{seed}": run_flags(
                f"{path}:{entry}", seed, _SET.value
            )
            for seed in seeds
            for entry in config.entries
        },
        config.jobs,
    )
    runs = {
        entry: [
            Workdir(root / entry / f"seed_{seed}").metrics_by_arm()
            for seed in seeds
        ]
        for entry in config.entries
    }
    made_for = {e: (c.measure, c.control) for e, c in config.entries.items()}
    command = " ".join(["python -m vlm_games.compare", *sys.argv[1:]])
    table = comparison.write(root, runs, made_for, command)
    return f"{table}\nLook at {root / 'comparison.html'}"


def tell(config, path: str) -> int:
    """Prints the dry run of every entry; status 1 if one does not fit."""
    device = find_device(None, _MEMORY.value, _SPEED.value)
    runs = {
        f"{entry}, {config.seeds} times (seeds)": command_line.load_config(
            f"{path}:{entry}", _SET.value
        )
        for entry in config.entries
    }
    text, fit = dry_runs(runs, device, pathlib.Path(path).parent)
    print(text)
    return 0 if fit else 1


if __name__ == "__main__":
    command_line.run(main, ["config"], (WorkdirError, RunFailedError))
