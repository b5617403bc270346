"""Image sets as a file: made once, read by any run that has the images.

    {"image_sets": {"kind": "similar", "size": 4, "seed": 0}}
    {"images": ["cat/3.jpg", "cat/1.jpg", "dog/7.jpg", "fox.jpg"], "target": 2}
    ...

A line is a game: names of images in the Guesser's order, and which of them the
Describer sees, counted from 0.
"""

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from vlm_games.data import atomic
from vlm_games.games.image_sets import ImageSet


class SetFileError(ValueError):
    """A file of sets that cannot be used: says file, line and what to do."""


def write_sets(
    path: str | os.PathLike,
    sets: Sequence[ImageSet],
    names: Sequence[str],
    made: Mapping[str, Any],
) -> None:
    """Writes all sets, or nothing.

    Args:
      names: of the images that `sets` count. made: how they were drawn.
    """
    lines = [json.dumps({"image_sets": dict(made)})]
    lines += [
        json.dumps(
            {"images": [names[i] for i in one.images], "target": one.target}
        )
        for one in sets
    ]
    atomic.write_bytes(path, ("\n".join(lines) + "\n").encode())


def read_sets(
    path: str | os.PathLike, names: Sequence[str], size: int
) -> list[ImageSet]:
    """All sets of a file.

    Args:
      names: of the source's images. size: images that a set is to have.

    Raises:
      SetFileError: it is none, or does not suit the images.
    """
    text = pathlib.Path(path).read_text(encoding="utf-8")
    head, *lines = text.removesuffix("\n").split("\n")
    try:
        made = json.loads(head)["image_sets"]
    except (ValueError, KeyError, TypeError) as error:
        raise SetFileError(
            f"{path}, line 1: this is no file of image sets, which begins "
            'with {"image_sets": ...}. Give another config.game.set_file, or '
            "delete the file to have it made."
        ) from error
    where = {name: i for i, name in enumerate(names)}
    found = []
    for number, line in enumerate(lines, 2):
        try:
            found.append(_read_set(line, where, size))
        except ValueError as error:
            raise SetFileError(
                f"{path}, line {number}: {error} (made with {made}). Give the "
                "images and config.game.images that it was made with, or "
                "delete the file to have it made anew."
            ) from error
    return found


def _read_set(line: str, where: Mapping[str, int], size: int) -> ImageSet:
    try:
        fields = json.loads(line)
        images, target = fields["images"], fields["target"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            'expected {"images": [names], "target": number}, found '
            f"{line[:60]!r}"
        ) from error
    if not isinstance(images, list) or len(images) != size:
        raise ValueError(f"images is {images!r}; expected {size} names")
    absent = [x for x in images if not isinstance(x, str) or x not in where]
    if absent:
        raise ValueError(f"there is no image {absent[0]!r} to play on")
    if len(set(images)) != size:
        raise ValueError(f"an image comes twice among {images!r}")
    if type(target) is not int or not 0 <= target < size:
        raise ValueError(f"target is {target!r}; expected 0 to {size - 1}")
    return ImageSet(tuple(where[name] for name in images), target)


def take(
    sets: Sequence[ImageSet], first: int, count: int, path: str | os.PathLike
) -> list[ImageSet]:
    """The sets first, ..., first + count - 1 of a file.

    Raises:
      SetFileError: it has not so many.
    """
    if first + count > len(sets):
        raise SetFileError(
            f"{path} has {len(sets)} sets and the run comes to number "
            f"{first + count}: lower config.game.games or config.iterations, "
            "or delete the file to have it made anew."
        )
    return list(sets[first : first + count])
