"""Compares methods: `python -m vlm_games.compare --config=... --workdir=W`.

Every entry of the config is run under every seed, as a run of vlm_games.main
of its own in W/<entry>/seed_<n>, resumable like any other; `jobs` of them go
side by side, each on its share of the cores. W/comparison.json has all rows,
.md the table, .html the curves.
"""

import pathlib
import sys

from absl import app, flags, logging
from ml_collections import config_flags

from vlm_games.data.workdir import Workdir, WorkdirError
from vlm_games.report import comparison
from vlm_games.side_by_side import RunFailedError, run_all

_CONFIG = config_flags.DEFINE_config_file("config", None, "What to compare.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of all runs.")
_SET = flags.DEFINE_multi_string(
    "set", [], "A field of every run: --set=config.train.steps=10."
)


def main(argv) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unknown arguments: {' '.join(argv[1:])}")
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)
    config, root = _CONFIG.value, pathlib.Path(_WORKDIR.value)
    path = config_flags.get_config_filename(flags.FLAGS["config"])
    try:
        Workdir(root).claim(config.to_dict() | {"set": list(_SET.value)})
        seeds = range(config.seeds)
        run_all(
            {
                root / entry / f"seed_{seed}": [
                    f"--config={path}:{entry}",
                    f"--config.seed={seed}",
                    *[f"--{item}" for item in _SET.value],
                ]
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
