"""Plays on each source of images, and measures on all of them.

    python -m vlm_games.cross_source --config=cross_source --workdir=/tmp/w \\
        --config.sources.photos=/data/photos

For every source and seed a run of vlm_games.main of its own, in
W/<source>/seed_<n>, resumable like any other. Then games on held-out images of
every source, by the base and by what every run came to. W/cross_source.json has
all rows, .md the tables. With --dry_run it only tells what would be done.
"""

import json
import pathlib
from collections.abc import Mapping, Sequence

from absl import flags
from ml_collections import config_flags

from vlm_games import command_line
from vlm_games.cross_measure import (
    configs_of,
    folder_of,
    measure_all,
    playing_controls,
)
from vlm_games.data import atomic, storage
from vlm_games.data.workdir import Workdir, WorkdirError
from vlm_games.methods.registry import arms_of
from vlm_games.planning.dry_run import dry_runs
from vlm_games.planning.plan import find_device
from vlm_games.report import cross_table
from vlm_games.side_by_side import RunFailedError, run_all, run_flags

FILE = "cross_source"
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
    if "sources" not in config:
        raise ValueError(
            f"{path} has no `sources`. Take one like --config=cross_source."
        )
    sources = {k: v for k, v in config.sources.items() if v is not None}
    if len(sources) < 2:
        raise ValueError(
            f"config.sources gives images for {', '.join(sources)} only; give "
            "another one, as --config.sources.photos=FOLDER."
        )
    fields = {
        name: [*_SET.value, f"config.images={images}"]
        for name, images in sources.items()
    }
    for name, controls in playing_controls(fields, f"{path}:run").items():
        fields[name].append(f"config.controls={controls}")
    if _DRY_RUN.value:
        return tell(fields, f"{path}:run", config.seeds)
    if _WORKDIR.value is None:
        raise ValueError(
            "give --workdir, the folder of all runs, or --dry_run."
        )
    root = storage.local("--workdir", _WORKDIR.value)
    Workdir(root).claim(config.to_dict() | {"set": list(_SET.value)})
    print(cross(config, fields, f"{path}:run", root))
    return 0


def cross(
    config, fields: Mapping[str, Sequence[str]], named: str, root: pathlib.Path
) -> str:
    """Runs what is not there yet, measures all; the tables.

    Args:
      fields: of the runs, by source. named: their config.
    """
    run_all(
        {
            folder_of(root, name, seed): run_flags(named, seed, given)
            for seed in range(config.seeds)
            for name, given in fields.items()
        },
        config.jobs,
    )
    rows = list(measure_all(root, configs_of(fields, named), config.seeds))
    text = cross_table.markdown(rows)
    found = json.dumps(rows, indent=1, allow_nan=False) + "\n"
    atomic.write_bytes(root / f"{FILE}.json", found.encode())
    atomic.write_bytes(root / f"{FILE}.md", text.encode())
    return text


def tell(fields: Mapping[str, Sequence[str]], named: str, seeds: int) -> int:
    """Prints the dry run of every source; status 1 if one does not fit."""
    device = find_device(None, _MEMORY.value, _SPEED.value)
    configs = configs_of(fields, named)
    runs = {f"{name}, {seeds} times (seeds)": c for name, c in configs.items()}
    text, fit = dry_runs(runs, device, pathlib.Path(named).parent)
    print(text)
    models = 1 + seeds * sum(len(arms_of(c)) for c in configs.values())
    for name, c in configs.items():
        print(
            f"Measured on {name}: {c.eval.games:,} games on held-out images by "
            f"each of {models} models."
        )
    return 0 if fit else 1


if __name__ == "__main__":
    command_line.run(main, ["config"], (WorkdirError, RunFailedError))
