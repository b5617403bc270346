"""Writing a file so that no reader, and no crash, ever sees half of it."""

import os
import pathlib


def write_bytes(path: str | os.PathLike, content: bytes) -> None:
    """Puts `content` at `path`, durably; until then the old file stays.

    Args:
      path: file in an existing local folder.
      content: what it is to hold.

    Raises:
      OSError: the disk is full or not writeable; the old file is untouched.
    """
    path = pathlib.Path(path)
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
