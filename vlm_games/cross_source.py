"""Plays on each source of images, and measures on all of them.

    python -m vlm_games.cross_source --config=cross_source --workdir=/tmp/w \\
        --config.sources.photos=/data/photos

For every source and seed a run of vlm_games.main of its own, in
W/<source>/seed_<n>, resumable like any other. Then games on held-out images of
every source, by the base and by what every run came to. W/cross_source.json has
all rows, .md the tables.
"""

import json
import pathlib

from absl import flags, logging
from ml_collections import config_flags

from vlm_games import command_line
from vlm_games.cross_measure import folder_of, measure_all
from vlm_games.data import atomic
from vlm_games.data.workdir import Workdir, WorkdirError
from vlm_games.report import cross_table
from vlm_games.side_by_side import RunFailedError, run_all

FILE = "cross_source"
_CONFIG = command_line.define_config()
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of all runs.")
_SET = flags.DEFINE_multi_string(
    "set", [], "A field of every run: --set=config.train.steps=10."
)


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
    root = pathlib.Path(str(_WORKDIR.value))
    Workdir(root).claim(config.to_dict() | {"set": list(_SET.value)})
    given = {
        name: [*_SET.value, f"config.images={images}"]
        for name, images in sources.items()
    }
    run_all(
        {
            folder_of(root, name, seed): [
                f"--config={path}:run",
                f"--config.seed={seed}",
                *(f"--{item}" for item in fields),
                f"--verbosity={logging.get_verbosity()}",
            ]
            for seed in range(config.seeds)
            for name, fields in given.items()
        },
        config.jobs,
    )
    configs = {
        name: command_line.load_config(f"{path}:run", fields)
        for name, fields in given.items()
    }
    rows = list(measure_all(root, configs, config.seeds))
    text = cross_table.markdown(rows)
    found = json.dumps(rows, indent=1, allow_nan=False) + "\n"
    atomic.write_bytes(root / f"{FILE}.json", found.encode())
    atomic.write_bytes(root / f"{FILE}.md", text.encode())
    print(text)
    return 0


if __name__ == "__main__":
    command_line.run(
        main, ["config", "workdir"], (WorkdirError, RunFailedError)
    )
