"""The figures of an iteration as TensorBoard scalars."""

import os
import time
from collections.abc import Iterator, Mapping
from typing import Any

from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event

from vlm_games.data import storage
from vlm_games.report import measures


def write_scalars(
    logdir: str | os.PathLike, metrics: Mapping[str, Any], step: int
) -> None:
    """Writes every finite number of `metrics` at `step` and closes the file.

    Nested figures get a path, {"vqa_kinds": {"colour": 70.}} -> the tag
    "vqa_kinds/colour". Each step has a file of its own, which replaces that of
    an earlier call: a resumed run that repeats a step draws it once.

    Raises:
      OSError: the disk is full, or the bucket refuses.
    """
    suffix = f".step_{step:05d}"
    place = storage.path_of(logdir)
    for old in list(place.glob(f"events.out.tfevents.*{suffix}")):
        old.unlink()
    with storage.filled(place) as folder:
        # Not SummaryWriter: its thread dies of a full disk, and then it waits
        # for that thread for ever.
        writer = EventsWriter(os.path.join(folder, "events"), suffix)
        for tag, value in scalars(metrics):
            writer.write_event(
                Event(
                    wall_time=time.time(),
                    step=step,
                    summary=summary.scalar(tag, value),
                )
            )
        writer.close()


def scalars(
    metrics: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, float]]:
    """The (tag, value) pairs of all finite numbers, nested ones by path."""
    for key, value in metrics.items():
        if isinstance(value, Mapping):
            yield from scalars(value, f"{prefix}{key}/")
        elif key != "iteration" and measures.figure(metrics, key) is not None:
            yield f"{prefix}{key}", float(value)
