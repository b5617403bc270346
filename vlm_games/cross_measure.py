"""Games on held-out images of every source, by what runs came to.

A run lies in W/<source>/seed_<n>. All its arms are measured; one that plays
nothing is there in the runs on the first source alone.
"""

import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence

from ml_collections import ConfigDict
from tqdm import tqdm

from vlm_games import command_line
from vlm_games.data import atomic
from vlm_games.data.workdir import Workdir
from vlm_games.evaluation.game_success import play_held_out
from vlm_games.evaluation.measure import stack
from vlm_games.games.play import Role
from vlm_games.methods.registry import arms_of, idle_arms
from vlm_games.report import cross_table
from vlm_games.report.measures import MAIN
from vlm_games.training import checkpoint
from vlm_games.workbench import Setup, build, find_iteration


def folder_of(root: pathlib.Path, source: str, seed: int) -> pathlib.Path:
    """Workdir of a run."""
    return root / source / f"seed_{seed}"


def playing_controls(
    fields: Mapping[str, Sequence[str]], named: str
) -> dict[str, tuple[str, ...]]:
    """Controls of all runs but those on the first source, by source.

    Arms that play nothing come to the same in all, so that one has them.
    """
    others = list(configs_of(fields, named).items())[1:]
    return {
        name: tuple(arm for arm in arms if arm not in idle_arms(config))
        for name, config in others
        for _, *arms in [arms_of(config)]
    }


def configs_of(fields: Mapping[str, Sequence[str]], named: str) -> dict:
    """The config of the runs, by source."""
    return {
        name: command_line.load_config(named, given)
        for name, given in fields.items()
    }


def measure_all(
    root: pathlib.Path, configs: Mapping[str, ConfigDict], seeds: int
) -> Iterator[dict]:
    """One row for every run and source that is measured on, and for the base.

    Args:
      configs: of runs, by the source that they play on.

    Yields:
      measured_on, played_on (None: nothing), arm (None: the base), seed, and
      `game_success` and its like in percent; beside the source that is
      rendered, answers, too.
    """
    arms = sum(len(arms_of(config)) for config in configs.values())
    with tqdm(
        total=len(configs) * (1 + arms * seeds),
        desc="measured",
        file=sys.stderr,
    ) as bar:
        for name, config in configs.items():
            setup = build(config)
            for which, params, metrics in models(
                root, configs, seeds, setup.base_params
            ):
                row = {"measured_on": name} | which
                row |= game_figures(setup, params)
                if not config.images:  # the only one whose answers are known
                    row |= {k: metrics[k] for k in cross_table.ANSWERS}
                bar.update()
                yield row


def models(
    root: pathlib.Path, configs: Mapping[str, ConfigDict], seeds: int, base
):
    """(which, params, metrics) of the base, then of every arm of the runs."""
    first = folder_of(root, next(iter(configs)), 0)
    nothing = {"played_on": None, "arm": None, "seed": None}
    yield nothing, base, Workdir(first).metrics(MAIN, 0)
    for source, config in configs.items():
        for arm in arms_of(config):
            played_on = None if arm in idle_arms(config) else source
            for seed in range(seeds):
                folder = folder_of(root, source, seed)
                found = find_iteration(folder, arm, None)
                params = checkpoint.load(found / "checkpoint", base)
                metrics = atomic.read_json(found / "metrics.json")
                which = {"played_on": played_on, "arm": arm, "seed": seed}
                yield which, params, metrics


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
