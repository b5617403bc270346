"""Labelled frames of a robot, beside the scenes, in a base's training."""

import dataclasses
import functools
import os

import numpy as np

from vlm_games.data.fetch import fetch
from vlm_games.data.manifest import ManifestError, open_manifest
from vlm_games.pretraining.examples import Subject, by_kind
from vlm_games.robot import questions as robot
from vlm_games.robot.facts import Facts, read_labels

SUBJECTS = {
    task: Subject(
        by_kind(q for q in asked if q.yes_no),
        by_kind(q for q in asked if not q.yes_no),
        robot.answers,
        robot.caption,
    )
    for task, asked in robot.QUESTIONS.items()
}


@dataclasses.dataclass(frozen=True)
class Frames:
    """Frames of which all is known.

    Attributes:
      pixels: uint8 [n, size, size, 3].
      facts: of each. tasks: of each, its name.
      last: bool [n], whether it is the last one of its episode.
    """

    pixels: np.ndarray
    facts: tuple[Facts, ...]
    tasks: tuple[str, ...]
    last: np.ndarray

    @functools.cached_property
    def by_task(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Of each task its frames' numbers: (the last ones, all)."""
        tasks = np.array(self.tasks)
        found = {}
        for task in sorted(set(self.tasks)):
            of_task = np.flatnonzero(tasks == task)
            found[task] = (of_task[self.last[of_task]], of_task)
        return found

    def draw(
        self, rng: np.random.Generator, count: int, last: float
    ) -> list[int]:
        """Different frames of one task.

        Args:
          last: chance of each that it is one of the last of an episode.
        """
        ends, whole = self.by_task[rng.choice(sorted(self.by_task))]
        found: list[int] = []
        while len(found) < count:
            one = int(rng.choice(ends if rng.random() < last else whole))
            if one not in found:
                found.append(one)
        return found


def load_frames(manifest: str | os.PathLike, size: int) -> Frames:
    """Reads a recording's manifest and its images.

    Args:
      manifest: as `vlm_games.record_aloha` writes it.
      size: side of the squares, pixels.

    Raises:
      ManifestError: it does not tell the facts of every frame.
    """
    source = open_manifest(manifest, size)
    labels = read_labels(manifest)
    if unknown := [name for name in source.names if name not in labels]:
        raise ManifestError(
            f"{os.fspath(manifest)}: {unknown[0]} has no facts of a task of "
            f"{', '.join(SUBJECTS)}. Record the episodes with "
            "vlm_games.record_aloha."
        )
    found = [labels[name] for name in source.names]
    ends: dict[str, int] = {}
    for label in found:
        ends[label.episode] = max(ends.get(label.episode, 0), label.step)
    return Frames(
        fetch(source, range(len(source))),
        tuple(label.facts for label in found),
        tuple(label.task for label in found),
        np.array([label.step == ends[label.episode] for label in found]),
    )
