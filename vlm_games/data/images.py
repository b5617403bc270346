"""Sources of images: a numbered collection of RGB arrays with names."""

import hashlib
import operator
import os
import pathlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from absl import logging

from vlm_games.data import decode
from vlm_games.data import scan as scanning
from vlm_games.worlds import splits

ScanResult = scanning.ScanResult
SkippedImage = scanning.SkippedImage
scan = scanning.scan


class ImageSource(Protocol):
    """What a game needs of its images."""

    @property
    def names(self) -> Sequence[str]:
        """One per image, unique and stable between runs."""

    def __len__(self) -> int:
        """Number of images."""

    def __getitem__(self, index: int) -> np.ndarray:
        """Image `index` as uint8 [H, W, 3], RGB; IndexError past the end."""

    def digest(self) -> str:
        """Hex string that changes when the images behind the indices do."""


class FolderSource:
    """The readable images under a folder, as squares.

    Attributes:
      names: paths relative to the folder, "/" between parts, sorted.
      skipped: what else the folder holds, each with path and reason.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        size: int,
        workers: int | None = None,
        memory_limit: int = 256 * 2**20,
    ):
        """Reads every file once (see `scan`, also for what is raised).

        Args:
          path: local folder, searched with its subfolders.
          size: side of the squares in pixels.
          workers: decoding threads; None takes one per core, at most 8.
          memory_limit: bytes of decoded squares to keep; a folder that needs
            more is decoded anew at each access, in constant memory.
        """
        found = scanning.scan(path, size, workers, memory_limit)
        self._root = pathlib.Path(path)
        self._size = size
        self._images = found.images
        self._file_sizes = found.file_sizes
        self.names = found.names
        self.skipped = found.skipped
        if found.skipped:
            logging.warning(
                "%s: %d images, %d entries skipped, the first being %s: %s",
                path,
                len(found.names),
                len(found.skipped),
                found.skipped[0].path,
                found.skipped[0].reason,
            )

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> np.ndarray:
        """Image `index` as read-only uint8 [size, size, 3], RGB."""
        if self._images is not None:
            return self._images[operator.index(index)]
        path = self._root / self.names[operator.index(index)]
        try:
            return decode.decode_square(path, self._size)
        except decode.UnreadableImageError as error:
            raise decode.UnreadableImageError(
                f"{path} was readable when the run began and is not now: "
                f"{error}. Restore it, or start again without it."
            ) from error

    def digest(self) -> str:
        """Of names, file sizes and `size`: a moved or touched folder keeps it.

        A file replaced by another of the very same length is not noticed.
        """
        state = hashlib.sha256(f"folder {self._size}\n".encode())
        for name, length in zip(self.names, self._file_sizes, strict=True):
            # A zero byte can be in no file name, so entries cannot run on.
            state.update(os.fsencode(name) + f"\0{length}\n".encode())
        return state.hexdigest()


class RenderedSource:
    """A split of the rendered world, whose scenes are known.

    Attributes:
      names: "<split>/<index>".
      scenes: the scene behind each image, for measuring only.
      images: uint8 [len(self), size, size, 3], RGB, read-only.
    """

    def __init__(self, split: str, count: int | None = None, size: int = 32):
        """Renders the first `count` scenes of `split` (None: all of them)."""
        self.scenes, self.images = splits.load_split(split, count, size=size)
        self.images.setflags(write=False)
        self.names = tuple(f"{split}/{i:05d}" for i in range(len(self.scenes)))

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> np.ndarray:
        """Image `index` as read-only uint8 [size, size, 3], RGB."""
        return self.images[operator.index(index)]

    def digest(self) -> str:
        """Of names and pixels, so that a changed renderer changes it."""
        state = hashlib.sha256(f"rendered {self.images.shape}\n".encode())
        state.update("\n".join(self.names).encode())
        state.update(np.ascontiguousarray(self.images).data)
        return state.hexdigest()
