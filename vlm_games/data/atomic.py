"""Writing a file so that no reader, and no crash, ever sees half of it.

On a disk it is written beside its place and renamed; an object of a bucket
appears as a whole by itself. What is torn all the same, by a bad disk or half a
copy, is set aside.
"""

import json
import os
import pathlib
from typing import Any

from absl import logging

from vlm_games.data import storage
from vlm_games.data.listing import is_remote


def write_bytes(path: str | os.PathLike, content: bytes) -> None:
    """Puts `content` at `path`, durably; until then the old file stays.

    Args:
      path: a local file, the folder of which is made if need be, or an object
        gs://bucket/name. content: what it is to hold.

    Raises:
      OSError: the disk is full or not writeable, or the bucket refuses; the
        old file is untouched.
    """
    path = storage.path_of(path)
    if is_remote(path):
        storage.put(path, content)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, since a rename is atomic within a file system only;
    # hidden, so that a listing of finished files passes it over; with the
    # process id, so that two writers never share it.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            # Before the rename: else a power cut may keep the name and lose
            # the bytes.
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:  # a failed write does not name the file
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: pathlib.Path) -> None:
    """Makes the rename itself survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes JSON as `write_bytes` does."""
    write_bytes(path, (json.dumps(value, indent=2) + "\n").encode())


def read_json(path: str | os.PathLike) -> dict | None:
    """The JSON object of a file; None if it is missing or torn.

    A torn one is set aside.
    """
    path = storage.path_of(path)
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        set_aside(path, str(error))
        return None
    if not isinstance(found, dict):
        set_aside(path, "no JSON object")
        return None
    return found


def set_aside(path: pathlib.Path, fault: str) -> None:
    """Renames a torn file or folder to `<name>.torn`, and says so.

    One that was set aside before is replaced.
    """
    aside = path.with_name(path.name + ".torn")
    logging.warning(
        "%s is not whole (%s): set aside as %s, and made again.",
        path,
        fault,
        aside.name,
    )
    storage.move(path, aside)
