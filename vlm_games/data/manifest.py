"""Images that a manifest lists: JSON lines or CSV, a row per image.

    {"path": "ep_07/000.jpg", "episode": "ep_07", "step": 0, "task": "insert"}

`path` counts from the folder of the manifest and does not leave it. `id`,
`cluster`, `episode`, `step` and `task` may be there; any other column is passed
over, so that labels may stand in the file that measures read.
"""

import csv
import dataclasses
import functools
import io
import json
import os
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from vlm_games.data.file_source import (
    MEMORY_LIMIT,
    FileSource,
    join,
    readable,
)
from vlm_games.data.images import Groups, number, units_of
from vlm_games.data.listing import SkippedImage, is_remote
from vlm_games.data.scan import scan

SUFFIXES = (".jsonl", ".jsonlines", ".csv")
COLUMNS = ("path", "id", "cluster", "episode", "step", "task")


class ManifestError(ValueError):
    """A manifest that cannot be used; the message has file, line, remedy."""


@dataclasses.dataclass(frozen=True)
class Row:
    """An image of a manifest.

    Attributes:
      line: where it stands, for messages: "<file>, line <n>".
      path: as it stands there. id: its name.
      cluster, episode, task: what it is of; None of none.
      step: of its episode; None where the order of the rows tells.
    """

    line: str
    path: str
    id: str
    cluster: str | None = None
    episode: str | None = None
    task: str | None = None
    step: int | None = None


def open_manifest(
    path: str | os.PathLike,
    size: int,
    *,
    absolute: bool = False,
    workers: int | None = None,
    memory_limit: int = MEMORY_LIMIT,
) -> FileSource:
    """The images that a manifest lists, in its order.

    Args:
      path: of the manifest, local or a URL that `etils.epath` knows.
      size: side of the squares in pixels.
      absolute: whether its paths may be absolute, URLs, or lead elsewhere.
      workers: as of `open_folder`. memory_limit: as of `open_folder`.

    Raises:
      ManifestError: a row that cannot be used, or no readable image.
      FileNotFoundError: there is no such manifest.
    """
    return open_rows(
        read_rows(path),
        os.fspath(path),
        size,
        absolute=absolute,
        workers=workers,
        memory_limit=memory_limit,
    )


def open_rows(
    rows: Sequence[Row],
    manifest: str,
    size: int,
    *,
    absolute: bool = False,
    workers: int | None = None,
    memory_limit: int = MEMORY_LIMIT,
) -> FileSource:
    """As `open_manifest`, of rows already read from the file `manifest`."""
    folder, slash, _ = manifest.rpartition("/")
    root = folder or slash or "."
    _check_ids(rows)
    paths = [_place(row, root, absolute) for row in rows]
    found = scan(paths, size, workers, memory_limit)
    skipped = [
        SkippedImage(f"{row.line}: {path}", reason)
        for row, path, reason in zip(rows, paths, found.reasons, strict=True)
        if reason is not None
    ]
    kept = readable(rows, found)
    if not kept:
        first = "".join(f" {s.path}: {s.reason}." for s in skipped[:1])
        raise ManifestError(
            f"{manifest}: none of its {len(rows)} rows gives an image.{first} "
            "List images, a row for each."
        )
    steps = [i if row.step is None else row.step for i, row in enumerate(kept)]
    clusters = number([row.cluster for row in kept])
    episodes = number([row.episode for row in kept])
    groups = Groups.unknown(
        len(kept),
        duplicates=found.duplicates,
        clusters=clusters,
        episodes=episodes,
        tasks=number([row.task for row in kept]),
        steps=np.array(steps, np.int64),
        units=units_of(episodes, clusters),
    )
    names = [row.id for row in rows]
    return FileSource(paths, names, size, found, groups, skipped)


def read_rows(path: str | os.PathLike) -> list[Row]:
    """All rows of a manifest; see `open_manifest` for what is raised."""
    name = os.fspath(path)
    if not name.endswith(SUFFIXES):
        raise ManifestError(
            f"{name} is no manifest: its name ends in none of "
            f"{', '.join(SUFFIXES)}."
        )
    try:
        text = epath.Path(name).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        whole = name if is_remote(name) else os.path.abspath(name)
        raise FileNotFoundError(
            f"There is no manifest {name} (looked for {whole}); mend "
            "config.images."
        ) from error
    except UnicodeDecodeError as error:
        raise ManifestError(
            f"{name} is not UTF-8 ({error}); save it as UTF-8."
        ) from error
    parse = _csv_rows if name.endswith(".csv") else json_rows
    return [_row(fields, line) for line, fields in parse(text, name)]


def json_rows(text: str, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """("<file>, line <n>", the object there) of every line that has one.

    Raises:
      ManifestError: a line that is no JSON object.
    """
    for count, content in enumerate(text.split("\n"), 1):
        if not content.strip():
            continue
        line = f"{name}, line {count}"
        try:
            fields = json.loads(content)
        except json.JSONDecodeError as error:
            raise ManifestError(
                f"{line}: not JSON ({error.msg}, column {error.colno}). "
                'Expected one object, such as {"path": "a.jpg"}.'
            ) from error
        if not isinstance(fields, dict):
            raise ManifestError(
                f"{line}: expected an object such as "
                f'{{"path": "a.jpg"}}, found {content.strip()[:40]}.'
            )
        yield line, fields


def _csv_rows(text: str, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    # An Excel file begins with a mark that is no part of the first name.
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")))
    columns = reader.fieldnames or ()
    if "path" not in columns:
        raise ManifestError(
            f"{name}, line 1: no column 'path' in the header "
            f"{reader.fieldnames}. Name the columns there: path, and any of "
            f"{', '.join(COLUMNS[1:])}."
        )
    for fields in reader:
        line = f"{name}, line {reader.line_num}"
        if None in fields or None in fields.values():
            raise ManifestError(
                f"{line}: not as many cells as the header has names "
                f"({len(columns)}). Quote cells that hold a comma."
            )
        yield line, {k: v for k, v in fields.items() if v != ""}


def _row(fields: Mapping[str, Any], line: str) -> Row:
    path = fields.get("path")
    if not isinstance(path, str) or not path or "\0" in path:
        raise ManifestError(
            f"{line}: path is {path!r}; expected the path of an image, counted "
            "from the folder of the manifest."
        )

    def text(key: str) -> str | None:
        return _text(fields.get(key), key, line)

    return Row(
        line,
        path,
        id=text("id") or path,
        cluster=text("cluster"),
        episode=text("episode"),
        task=text("task"),
        step=_step(fields.get("step"), line),
    )


def _text(value: Any, key: str, line: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        raise ManifestError(
            f"{line}: {key} is {value!r}; expected text or a whole number."
        )
    return str(value)


def _step(value: Any, line: str) -> int | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if value is None or (whole and abs(value) < 2**62):
        return value
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,18}", value):
        return int(value)
    raise ManifestError(f"{line}: step is {value!r}; expected a whole number.")


def _check_ids(rows: Sequence[Row]) -> None:
    seen: dict[str, str] = {}
    for row in rows:
        if row.id in seen:
            raise ManifestError(
                f"{row.line}: the id {row.id!r} is that of {seen[row.id]}, "
                "too. Ids, or paths where there are none, must differ."
            )
        seen[row.id] = row.line


def _place(row: Row, root: str, absolute: bool) -> str:
    """Where the image of a row lies, if it may lie there.

    Raises:
      ManifestError: it leaves the folder, or there is no such file.
    """
    path = row.path
    whole = path.startswith("/") or is_remote(path)
    place = path if whole else join(root, path)
    up = ".." in pathlib.PurePosixPath(path).parts
    if not absolute and (whole or up or not _stays(place, root)):
        raise ManifestError(
            f"{row.line}: the path {path!r} leaves the folder of the manifest. "
            "Put the image there, or set config.image_paths='any' if you trust "
            "the file."
        )
    if not is_remote(place) and not os.path.isfile(place):
        raise ManifestError(
            f"{row.line}: there is no file {place}. Paths count from the "
            "folder of the manifest; mend the path or take the row out."
        )
    return place


def _stays(place: str, root: str) -> bool:
    """Whether a file is in a folder once links are followed."""
    if is_remote(place):
        return True  # buckets have no links
    folder, name = os.path.split(place)
    real = os.path.join(_real(folder), name)
    if os.path.islink(real):
        real = os.path.realpath(real)
    home = _real(root)
    return os.path.commonpath([real, home]) == home


@functools.lru_cache(maxsize=1024)
def _real(folder: str) -> str:
    return os.path.realpath(folder)
