"""Decoded squares on disk: what was decoded once is read from there.

One file of squares, one behind the other, and one of their CRC-32; zero says
that a square is not there yet. A square that was cut short by a crash has
another sum and is decoded again, so nothing has to be synced or locked, and
several processes may share the files.
"""

import operator
import os
import pathlib
import zlib

import numpy as np

from vlm_games.data.images import Groups, ImageSource


class CachedSource:
    """A source whose squares are kept on disk; see `ImageSource`.

    Attributes:
      source: what it keeps the squares of.
    """

    def __init__(self, source: ImageSource, folder: str | os.PathLike, size):
        """Keeps squares of `size` pixels in `folder`, named by their digest.

        Raises:
          OSError: the folder cannot be written to.
        """
        self.source = source
        self._shape = (size, size, 3)
        self._bytes = size * size * 3
        root = pathlib.Path(folder)
        root.mkdir(parents=True, exist_ok=True)
        name = source.digest().replace(":", "_")[:32]
        # As long as they will be, but holes as yet: no space is taken.
        self._squares = _open(root / f"{name}.squares", len(self) * size**2 * 3)
        self._sums = _open(root / f"{name}.sums", len(self) * 4)

    @property
    def names(self):
        return self.source.names

    @property
    def groups(self) -> Groups:
        return self.source.groups

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> np.ndarray:
        """Image `index` as read-only uint8 [size, size, 3], RGB."""
        i = range(len(self))[operator.index(index)]
        found = os.pread(self._squares, self._bytes, i * self._bytes)
        known = os.pread(self._sums, 4, i * 4)
        if known == _sum(found):
            return np.frombuffer(found, np.uint8).reshape(self._shape)
        square = self.source[i]
        content = square.tobytes()
        os.pwrite(self._squares, content, i * self._bytes)
        os.pwrite(self._sums, _sum(content), i * 4)
        return square

    def digest(self) -> str:
        """The source's."""
        return self.source.digest()


def _sum(content: bytes) -> bytes:
    """CRC-32 with its lowest bit set, so that it is never zero."""
    return (zlib.crc32(content) | 1).to_bytes(4, "little")


def _open(path: pathlib.Path, length: int) -> int:
    """Descriptor of a file of `length` bytes."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    if os.fstat(descriptor).st_size != length:
        os.ftruncate(descriptor, length)
    return descriptor
