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
import sys
from collections.abc import Iterator, Mapping

from absl import flags, logging
from ml_collections import ConfigDict, config_flags
from tqdm import tqdm

from vlm_games import command_line
from vlm_games.data import atomic
from vlm_games.data.workdir import Workdir, WorkdirError
from vlm_games.evaluation.game_success import play_held_out
from vlm_games.evaluation.measure import stack
from vlm_games.games.play import Role
from vlm_games.report import cross_table
from vlm_games.report.measures import MAIN
from vlm_games.side_by_side import RunFailedError, run_all
from vlm_games.training import checkpoint
from vlm_games.workbench import Setup, build, find_iteration

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


def folder_of(root: pathlib.Path, source: str, seed: int) -> pathlib.Path:
    """Workdir of a run."""
    return root / source / f"seed_{seed}"


def measure_all(
    root: pathlib.Path, configs: Mapping[str, ConfigDict], seeds: int
) -> Iterator[dict]:
    """One row for every run and source that is measured on, and for the base.

    Args:
      configs: of runs, by the source that they play on.

    Yields:
      measured_on, played_on (None: the base), seed, and `game_success` and its
      like in percent; beside the source that is rendered, answers, too.
    """
    with tqdm(
        total=len(configs) * (1 + len(configs) * seeds),
        desc="measured",
        file=sys.stderr,
    ) as bar:
        for name, config in configs.items():
            setup = build(config)
            for source, seed, params, metrics in models(
                root, list(configs), seeds, setup.base_params
            ):
                row = {"measured_on": name, "played_on": source, "seed": seed}
                row |= game_figures(setup, params)
                if not config.images:  # the only one whose answers are known
                    row |= {k: metrics[k] for k in cross_table.ANSWERS}
                bar.update()
                yield row


def models(root: pathlib.Path, sources: list[str], seeds: int, base):
    """(source played on, seed, params, metrics) of the base, then of runs."""
    first = folder_of(root, sources[0], 0)
    yield None, None, base, Workdir(first).metrics(MAIN, 0)
    for source in sources:
        for seed in range(seeds):
            found = find_iteration(folder_of(root, source, seed), MAIN, None)
            params = checkpoint.load(found / "checkpoint", base)
            yield source, seed, params, atomic.read_json(found / "metrics.json")


def game_figures(setup: Setup, params) -> dict[str, float]:
    """Games of a model with itself on the held-out images, in percent."""
    bench, held_out = setup.bench, setup.held_out
    tokens = bench.engine.encode(params, stack(held_out.games))
    return play_held_out(
        bench.table,
        bench.scorer,
        bench.prompts,
        Role(params, tokens),
        held_out.specs,
        held_out.seed,
    )


if __name__ == "__main__":
    command_line.run(
        main, ["config", "workdir"], (WorkdirError, RunFailedError)
    )
