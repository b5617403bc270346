"""The figures of an iteration as TensorBoard scalars."""

import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import tensorboardX

from vlm_games.report import measures


def write_scalars(
    logdir: str | os.PathLike, metrics: Mapping[str, Any], step: int
) -> None:
    """Writes every finite number of `metrics` at `step` and closes the file.

    Nested figures get a path, {"vqa_kinds": {"colour": 70.}} -> the tag
    "vqa_kinds/colour". Each step has a file of its own, which replaces that of
    an earlier call: a resumed run that repeats a step draws it once.
    """
    suffix = f".step_{step:05d}"
    for old in pathlib.Path(logdir).glob(f"events.out.tfevents.*{suffix}"):
        old.unlink()
    with tensorboardX.SummaryWriter(
        str(logdir), filename_suffix=suffix
    ) as writer:
        for tag, value in scalars(metrics):
            writer.add_scalar(tag, value, step)


def scalars(
    metrics: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, float]]:
    """The (tag, value) pairs of all finite numbers, nested ones by path."""
    for key, value in metrics.items():
        if isinstance(value, Mapping):
            yield from scalars(value, f"{prefix}{key}/")
        elif key != "iteration" and measures.figure(metrics, key) is not None:
            yield f"{prefix}{key}", float(value)
