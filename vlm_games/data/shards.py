"""Records on disk: one JSON object per line of a shard, whatever they are of.

A shard `shard_00000.jsonl` is plain JSON lines, for jq or pandas as well as
for `read_shard`. Beside it lies `shard_00000.jsonl.sha256`, in the format of
`sha256sum -c`: without it, a shard cut off between two lines would look whole.
"""

import hashlib
import os
import pathlib
from collections.abc import Iterable
from typing import TypeVar

from vlm_games.data import atomic, storage
from vlm_games.data.schema import Record, RecordError

Kind = TypeVar("Kind", bound=Record)
ADVICE = "Delete the shard to have it made again."


class TornShardError(ValueError):
    """A shard that is not whole: cut short, altered or half copied."""


def write_shard(path: str | os.PathLike, records: Iterable[Record]) -> None:
    """Writes records to `path`, all of them or none.

    The checksum goes first: a crash between the two leaves a checksum without
    a shard, which `list_shards` does not list.

    Raises:
      RecordError: a record is not sound; nothing is written.
      OSError: the disk or the bucket refused.
    """
    path = storage.path_of(path)
    lines = [record.to_json() + "\n" for record in records]
    content = "".join(lines).encode("ascii")
    checksum = f"{hashlib.sha256(content).hexdigest()}  {path.name}\n"
    atomic.write_bytes(_checksum_path(path), checksum.encode())
    atomic.write_bytes(path, content)


def read_shard(path: str | os.PathLike, kind: type[Kind]) -> list[Kind]:
    """Reads all records of a shard, which are of class `kind`.

    Raises:
      FileNotFoundError: there is no such shard.
      TornShardError: the shard is not what was written.
      RecordError: a line breaks the schema, named by file, line and field.
    """
    path = storage.path_of(path)
    lines = split_lines(read_whole(path))
    return [
        read_line(line, kind, path, number)
        for number, line in enumerate(lines, 1)
    ]


def read_whole(path: str | os.PathLike) -> bytes:
    """The lines of a shard, each with its end.

    Raises:
      FileNotFoundError: there is no such shard.
      TornShardError: the shard is not what was written.
    """
    path = storage.path_of(path)
    content = path.read_bytes()
    _check_whole(path, content)
    return content


def split_lines(content: bytes) -> list[bytes]:
    """The lines of a shard, without their ends."""
    # Not splitlines(), which also cuts at characters that text may hold.
    return content.removesuffix(b"\n").split(b"\n") if content else []


def read_line(
    line: bytes, kind: type[Kind], path: str | os.PathLike, number: int
) -> Kind:
    """The record of a line, which is the `number`-th of `path`, from 1.

    Raises:
      RecordError: it breaks the schema; file, line and field are named.
    """
    place = f"{path}, line {number}"
    try:
        return kind.from_json(line.decode("utf-8"), place)
    except UnicodeDecodeError as error:
        raise RecordError(f"{place}: no text in UTF-8: {error}") from error
    except RecordError as error:
        raise RecordError(
            f"{error}. Another version wrote it, or somebody changed it. "
            f"{ADVICE}"
        ) from None


def delete_shard(path: str | os.PathLike) -> None:
    """Deletes a shard, and then its checksum."""
    path = storage.path_of(path)
    path.unlink()
    _checksum_path(path).unlink(missing_ok=True)


def is_whole(path: str | os.PathLike) -> bool:
    """Whether a shard's bytes are those that were written."""
    path = storage.path_of(path)
    try:
        _check_whole(path, path.read_bytes())
    except TornShardError:
        return False
    return True


def list_shards(folder: str | os.PathLike) -> list[pathlib.Path]:
    """Paths of the finished shards in `folder`, sorted; [] without a folder.

    Whether each is whole, `is_whole` says.
    """
    return sorted(storage.path_of(folder).glob("shard_*.jsonl"))


def _check_whole(path: pathlib.Path, content: bytes) -> None:
    try:
        expected = _checksum_path(path).read_text(encoding="utf-8").split()[:1]
    except FileNotFoundError as error:
        raise TornShardError(
            f"{path}: no checksum {path.name}.sha256 beside it, so it may be "
            f"cut short. {ADVICE}"
        ) from error
    if expected != [hashlib.sha256(content).hexdigest()]:
        raise TornShardError(
            f"{path}: its {len(content)} bytes are not those that were "
            f"written (SHA-256 differs from {path.name}.sha256). {ADVICE}"
        )


def _checksum_path(path: pathlib.Path) -> pathlib.Path:
    return path.with_name(path.name + ".sha256")
