"""Did the robot succeed? Asked of the last frames of labelled episodes.

The labels stand in the manifest that the images come from, in a column
`success` which the image source itself passes over.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from vlm_games.data.images import ImageSource, Subset
from vlm_games.data.manifest import ManifestError, json_rows, open_manifest
from vlm_games.evaluation.questions import Item
from vlm_games.robot.tasks import TASKS
from vlm_games.worlds.questions import Question

# Where the task is none of ours.
QUESTION = "did the robot succeed ?"


@dataclasses.dataclass(frozen=True)
class Outcomes:
    """Last frames of episodes, and what is asked of them.

    Attributes:
      images: the frames. items: of `success_items`, which count them.
    """

    images: ImageSource
    items: Sequence[Item]


def open_outcomes(
    manifest: str | os.PathLike, size: int, seed: int
) -> Outcomes:
    """The labelled episodes of a manifest; other frames are never decoded.

    Args:
      size: side of the squares in pixels. seed: as of `success_items`.

    Raises:
      ManifestError: see `success_items`.
    """
    source = open_manifest(manifest, size)
    items = success_items(manifest, source.names, seed)
    used = tuple(sorted(item.image for item in items))
    place = {image: number for number, image in enumerate(used)}
    items = [dataclasses.replace(i, image=place[i.image]) for i in items]
    return Outcomes(Subset(source, used), items)


def success_items(
    manifest: str | os.PathLike, names: Sequence[str], seed: int
) -> list[Item]:
    """One yes/no question per episode, as many yes as no of every task.

    Args:
      manifest: JSON lines with episode, step, task and success (true or
        false), such as `vlm_games.record_aloha` writes.
      names: of the images, as their source has them; a frame that is not among
        them is not asked about.
      seed: of which episodes are left out, where one answer is more frequent.

    Returns:
      items for `questions.answer_accuracy`, by task; kinds are the tasks.

    Raises:
      ManifestError: a row without a label, or no task with both answers.
    """
    where = {name: i for i, name in enumerate(names)}
    asked: dict[str, dict[bool, list[int]]] = {}
    for row in _last_frames(os.fspath(manifest)):
        image = where.get(str(row.get("id", row["path"])))
        if image is not None:
            answers = asked.setdefault(str(row["task"]), {True: [], False: []})
            answers[row["success"]].append(image)
    rng = np.random.default_rng(seed)
    items: list[Item] = []
    for task, answers in sorted(asked.items()):
        text = TASKS[task].question if task in TASKS else QUESTION
        question = Question(text, task, True, ())
        count = min(map(len, answers.values()))
        for success, images in answers.items():
            chosen = sorted(rng.permutation(images)[:count].tolist())
            answer = "yes" if success else "no"
            items += [Item(image, question, answer) for image in chosen]
    if not items:
        raise ManifestError(
            f"{os.fspath(manifest)}: no task has both an episode that "
            "succeeded and one that failed among the images given; record "
            "some of both."
        )
    return items


def _last_frames(manifest: str) -> list[Mapping[str, Any]]:
    """The row of every episode's last step."""
    last: dict[str, Mapping[str, Any]] = {}
    text = epath.Path(manifest).read_text(encoding="utf-8")
    for line, row in json_rows(text, manifest):
        for name, kind in (
            ("path", str),
            ("episode", str),
            ("step", int),
            ("task", str),
            ("success", bool),
        ):
            if not isinstance(row.get(name), kind):
                raise ManifestError(
                    f"{line}: {name} is {row.get(name)!r}; expected "
                    f"{kind.__name__}, as vlm_games.record_aloha writes it."
                )
        before = last.get(row["episode"])
        if before is None or before["step"] < row["step"]:
            last[row["episode"]] = row
    return list(last.values())
