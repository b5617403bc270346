"""Images in files, one in each: of a folder, a pattern or a manifest."""

import dataclasses
import hashlib
import operator
import os
from collections.abc import Sequence

import numpy as np

from vlm_games.data import decode
from vlm_games.data.images import Groups, number
from vlm_games.data.listing import Listing, SkippedImage, list_files
from vlm_games.data.scan import Scan, scan

MEMORY_LIMIT = 256 * 2**20  # bytes of decoded squares to keep


class FileSource:
    """Files as squares; decoded at each access, or kept if few.

    Attributes:
      names: one per image. groups: what is known of them.
      skipped: files that give no image, each with its path and the reason.
    """

    def __init__(
        self,
        paths: Sequence[str],
        names: Sequence[str],
        size: int,
        found: Scan,
        groups: Groups,
        skipped: Sequence[SkippedImage] = (),
    ):
        """Of the files that `found` says are readable.

        Args:
          paths, names: of all files that were looked at.
          size: side of the squares in pixels.
          groups: of the readable ones. skipped: in order of path.
        """
        readable = [i for i, why in enumerate(found.reasons) if why is None]
        self._paths = tuple(paths[i] for i in readable)
        self._file_sizes = tuple(found.file_sizes[i] for i in readable)
        self._images, self._size = found.images, size
        self.names = tuple(names[i] for i in readable)
        self.groups, self.skipped = groups, tuple(skipped)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> np.ndarray:
        """Image `index` as read-only uint8 [size, size, 3], RGB."""
        if self._images is not None:
            return self._images[operator.index(index)]
        path = self._paths[operator.index(index)]
        try:
            return decode.decode_file(path, self._size)
        except decode.UnreadableImageError as error:
            raise decode.UnreadableImageError(
                f"{path} looked like an image when the run began and cannot be "
                f"decoded now: {error}. Mend it, or start again without it."
            ) from error

    def digest(self) -> str:
        """Of names, file sizes, groups and `size`; moving files keeps it.

        A file replaced by another of the very same length is not noticed, nor
        is a remote file of another length.
        """
        state = hashlib.sha256(f"files {self._size}\n".encode())
        for name, length in zip(self.names, self._file_sizes, strict=True):
            # A zero byte can be in no file name, so entries cannot run on.
            state.update(os.fsencode(name) + f"\0{length}\n".encode())
        for field in dataclasses.fields(self.groups):
            state.update(getattr(self.groups, field.name).astype("<i8"))
        return state.hexdigest()


def open_folder(
    path: str | os.PathLike,
    size: int,
    workers: int | None = None,
    memory_limit: int = MEMORY_LIMIT,
) -> FileSource:
    """The readable images under a folder, or those that a pattern names.

    Images of one folder are a cluster, and in order of their names an episode.

    Args:
      path: see `listing.list_files`. size: side of the squares in pixels.
      workers: threads; None takes one per core, at most 8.
      memory_limit: bytes of decoded squares to keep; a folder that needs
        more is decoded anew at each access, in constant memory.

    Raises:
      FileNotFoundError, NotADirectoryError: there is no such folder.
      ValueError: not one file in it is readable.
    """
    listed = list_files(path)
    paths = [join(listed.root, name) for name in listed.names]
    found = scan(paths, size, workers, memory_limit)
    skipped = [
        *listed.skipped,
        *(
            SkippedImage(path, reason)
            for path, reason in zip(paths, found.reasons, strict=True)
            if reason is not None
        ),
    ]
    skipped.sort(key=lambda skip: skip.path)
    if all(reason is not None for reason in found.reasons):
        raise ValueError(_nothing_readable(path, listed, skipped))
    names = readable(listed.names, found)
    folders = number([name.rpartition("/")[0] for name in names])
    groups = Groups.unknown(
        len(names),
        duplicates=found.duplicates,
        clusters=folders,
        episodes=folders,
    )
    return FileSource(paths, listed.names, size, found, groups, skipped)


def count_files(path: str | os.PathLike) -> int:
    """Files that `open_folder` would try; none of them is opened.

    Raises:
      FileNotFoundError, NotADirectoryError: there is no such folder.
      ValueError: it holds no file to try.
    """
    listed = list_files(path)
    if not listed.names:
        raise ValueError(_nothing_readable(path, listed, listed.skipped))
    return len(listed.names)


def join(root: str, name: str) -> str:
    """Path of a file in a folder, local or remote."""
    return f"{root.rstrip('/')}/{name}"


def readable(values: Sequence, found: Scan) -> list:
    """Those of the readable files, given one value per file."""
    pairs = zip(values, found.reasons, strict=True)
    return [value for value, reason in pairs if reason is None]


def _nothing_readable(
    path: str | os.PathLike, listed: Listing, skipped: Sequence[SkippedImage]
) -> str:
    lines = [
        f"Image folder {path} holds no readable image. Looked in all "
        f"subfolders of {listed.root} for {', '.join(decode.FORMATS)}, by "
        f"content and not by extension; found {len(skipped)} other entries."
    ]
    lines += [f"  {skip.path}: {skip.reason}" for skip in skipped[:5]]
    if len(skipped) > 5:
        lines.append(f"  and {len(skipped) - 5} more")
    return "\n".join(lines)
