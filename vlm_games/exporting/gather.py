"""From a run's workdir to what one of its iterations learned from."""

import dataclasses
import pathlib
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import vlm_games
from vlm_games.data.examples import Example
from vlm_games.data.images import ImageSource
from vlm_games.data.records import GameRecord
from vlm_games.data.workdir import Workdir
from vlm_games.exporting.conversations import Row, plain_prompts, to_rows
from vlm_games.methods.game_pairs import pairs as game_pairs
from vlm_games.methods.method import MAIN, Stage, Workbench
from vlm_games.methods.registry import METHODS
from vlm_games.workbench import Setup

# Methods whose candidates are no pairs by themselves -> what makes some.
PAIRS = {"dialog_games": game_pairs}


@dataclasses.dataclass(frozen=True)
class Export:
    """What is written.

    Attributes:
      rows: in order. pairs: whether they are preferences.
      pixels: of every image of the rows, uint8 [H, W, 3], by its number.
      provenance: config, code, base, filter, iteration and counts, for JSON.
    """

    rows: Sequence[Row]
    pairs: bool
    pixels: Mapping[int, np.ndarray]
    provenance: Mapping[str, Any]


def gather(
    setup: Setup, workdir: Workdir, arm: str, iteration: int, pairs: bool
) -> Export:
    """What an arm learned from in an iteration.

    Args:
      setup: of the run's config, see `workbench.build`.
      pairs: preferences instead of what is learned by likelihood.

    Raises:
      ValueError: nothing was kept, the images are not those of the run, or
        the method has no examples of this kind.
    """
    bench = setup.bench
    _check_images(setup, workdir)
    own, plain = (
        _examples(
            dataclasses.replace(bench, prompts=prompts),
            workdir,
            arm,
            iteration,
            pairs,
        )
        for prompts in (bench.prompts, plain_prompts())
    )
    rows = [
        row
        for stream in own
        for row in to_rows(
            stream, own[stream], plain[stream], bench.images.names, pairs
        )
    ]
    if not rows:
        raise ValueError(
            f"Iteration {iteration} of arm {arm!r} has nothing to export: "
            "see games_kept in its metrics.json, or take another iteration."
        )
    used = sorted({i for row in rows for i in row.example.images})
    return Export(
        rows,
        pairs,
        {i: bench.images[i] for i in used},
        _provenance(setup, workdir, arm, iteration, rows, len(used)),
    )


def _examples(
    bench: Workbench, workdir: Workdir, arm: str, iteration: int, pairs: bool
) -> Mapping[str, Sequence[Example]]:
    """By stream, the examples about the run's own images or about none."""
    config = bench.config
    method = METHODS[config.method](bench)
    # In the first iteration controls take main's candidates.
    owner = MAIN if iteration == 1 else arm
    records = workdir.candidates(owner, iteration, method.record)
    if pairs and config.method in PAIRS:
        if arm != MAIN:
            raise ValueError(f"Pairs are of arm {MAIN!r}, not of {arm!r}.")
        games = [r for r in records if isinstance(r, GameRecord)]
        return PAIRS[config.method](games, bench, (config.seed, iteration))
    budget = None
    if arm != MAIN:
        main = workdir.metrics(MAIN, iteration)
        if main is None:
            raise FileNotFoundError(
                f"{workdir.root}: the examples of {arm!r} are as many as those "
                f"of {MAIN!r}, whose iteration {iteration} is not whole. Let "
                "the run make it again."
            )
        budget = main["budget"]
    selection = method.select(records, arm, iteration, budget)
    if not selection.kept:
        return {}
    # Later stages have examples that a model makes, of labelled images.
    stage = selection.stages[0]
    if pairs != (stage.objective == "preference"):
        raise ValueError(_wrong_kind(config.method, stage, pairs))
    found = stage.examples(None)
    return {
        stream: examples
        for stream, examples in found.items()
        if stage.images_of(stream, bench.images) is bench.images
    }


def _wrong_kind(method: str, stage: Stage, pairs: bool) -> str:
    if pairs:
        return (
            f"The method {method!r} has no preference pairs: its stage "
            f"{stage.name!r} learns by likelihood. Take --format=parquet."
        )
    return (
        f"The method {method!r} learns preferences in its stage "
        f"{stage.name!r}: take --format=dpo."
    )


def _check_images(setup: Setup, workdir: Workdir) -> None:
    expected = workdir.config()["digests"]
    for name, found in setup.digests.items():
        if expected.get(name) != found:
            raise ValueError(
                f"The run's {name} changed since it was made (digest "
                f"{expected.get(name)!r} then, {found!r} now): an export would "
                "tie its games to other ones. Put back what was there."
            )


def _provenance(
    setup: Setup,
    workdir: Workdir,
    arm: str,
    iteration: int,
    rows: Sequence[Row],
    images: int,
) -> dict:
    config = setup.bench.config
    streams = [row.stream for row in rows]
    return {
        "method": config.method,
        "arm": arm,
        "iteration": iteration,
        "filter": _filter_named(config),
        "base": config.base or "the shipped base",
        "base_sha256": setup.digests["base"],
        "images": source_named(config, setup.bench.images),
        "images_digest": setup.digests["images"],
        "code": code_version(),
        "rows": {s: streams.count(s) for s in dict.fromkeys(streams)},
        "pictures": images,
        "config": workdir.config(),
    }


def _filter_named(config) -> str:
    if config.method == "dialog_games":
        return config.game.filter
    return f"the choice of the method {config.method}"


def source_named(config, images: ImageSource) -> str:
    """Where the images are from, in words."""
    where = config.images or "the rendered target domain"
    return f"{len(images)} images of {where}"


def code_version() -> str:
    """Version of the package and, in a checkout, its commit."""
    version = f"vlm_games {vlm_games.__version__}"
    root = pathlib.Path(vlm_games.__file__).parents[1]
    if not (root / ".git").exists():  # else of whatever the package lies in
        return version
    try:
        commit = subprocess.run(
            ["git", "-C", root, "describe", "--always", "--dirty"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return version
    return f"{version} ({commit.stdout.strip()})"
