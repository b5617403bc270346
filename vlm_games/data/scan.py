"""Which files are readable images, which are copies, and why others are not.

Files whose squares fit in memory are decoded at once, and so known to be sound.
Of more files only the headers are read: a hundred thousand in seconds.
"""

import dataclasses
import functools
import hashlib
import os
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent import futures

import numpy as np
from absl import logging

from vlm_games.data import decode
from vlm_games.data.images import equal_pixels, number
from vlm_games.data.listing import is_remote

_END = 4096  # bytes of each end of a file that a first comparison looks at


@dataclasses.dataclass(frozen=True)
class Scan:
    """What n files are.

    Attributes:
      reasons: of each, why it gives no image; None where it gives one.
      file_sizes: bytes of each; 0 of those that were not looked at.
      images: uint8 [m, size, size, 3], read-only, of the m readable ones;
        None where they would take more memory than was allowed.
      duplicates: int64 [m], equal where two are the same image.
    """

    reasons: tuple[str | None, ...]
    file_sizes: tuple[int, ...]
    images: np.ndarray | None
    duplicates: np.ndarray


@dataclasses.dataclass(frozen=True)
class _Look:
    """One file: why it gives no image, its bytes, sums of its two ends."""

    reason: str | None
    bytes: int = 0
    ends: int = 0


def workers_or_cores(workers: int | None) -> int:
    """`workers`, or one per core and at most 8 where that is 0 or None."""
    return workers or min(8, os.cpu_count() or 1)


def scan(
    paths: Sequence[str],
    size: int,
    workers: int | None = None,
    memory_limit: int = 0,
) -> Scan:
    """Looks at files, once each; remote ones are taken for what they seem.

    Peak memory is `workers` decoded originals, plus the squares that are kept.

    Args:
      paths: of the files. size: side of the decoded squares, in pixels.
      workers: threads; None takes one per core, at most 8.
      memory_limit: decode and keep all if that takes no more bytes.
    """
    count = len(paths)
    if any(map(is_remote, paths)):
        nothing = tuple([None] * count)
        return Scan(nothing, (0,) * count, None, np.arange(count))
    kept = None
    if count * size * size * 3 <= memory_limit:
        kept = np.empty((count, size, size, 3), np.uint8)
    look = functools.partial(_look, paths=paths, size=size, kept=kept)
    looks = _map_in_threads(look, count, workers_or_cores(workers))
    readable = [i for i, found in enumerate(looks) if found.reason is None]
    if kept is not None:
        kept = _compact(kept, readable)
        duplicates = equal_pixels(kept)
    else:
        duplicates = _equal_files(
            [paths[i] for i in readable], [looks[i] for i in readable]
        )
    return Scan(
        reasons=tuple(found.reason for found in looks),
        file_sizes=tuple(found.bytes for found in looks),
        images=kept,
        duplicates=duplicates,
    )


def _look(
    i: int, paths: Sequence[str], size: int, kept: np.ndarray | None
) -> _Look:
    try:
        if kept is not None:
            kept[i] = decode.decode_square(paths[i], size)
            return _Look(None, os.stat(paths[i]).st_size)
        with open(paths[i], "rb") as file:
            decode.check_header(file)
            length = os.fstat(file.fileno()).st_size
            file.seek(0)
            ends = zlib.crc32(file.read(_END))
            file.seek(max(length - _END, 0))
            return _Look(None, length, zlib.crc32(file.read(_END), ends))
    except (decode.UnreadableImageError, OSError) as error:
        return _Look(str(error))


def _equal_files(paths: Sequence[str], looks: Sequence[_Look]) -> np.ndarray:
    """int64 [n], equal where all bytes are; reads whole only likely copies."""
    likely = Counter((found.bytes, found.ends) for found in looks)
    contents: list[str | bytes] = []
    for path, found in zip(paths, looks, strict=True):
        if likely[found.bytes, found.ends] == 1:
            contents.append(path)
        else:
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256")
            contents.append(digest.digest())
    return number(contents)


def _map_in_threads(
    function: Callable[[int], _Look], count: int, workers: int
) -> list[_Look]:
    """[function(0), ..., function(count - 1)], with a word every 10 s."""
    results = []
    with futures.ThreadPoolExecutor(workers) as pool:
        for result in pool.map(function, range(count)):
            results.append(result)
            logging.log_every_n_seconds(
                logging.INFO, "looked at %d of %d images", 10, len(results),
                count,
            )  # fmt: skip
    return results


def _compact(images: np.ndarray, readable: list[int]) -> np.ndarray:
    """Moves the readable rows to the front, in place, and cuts the rest off."""
    for row, i in enumerate(readable):
        if row != i:  # row < i: nothing still needed is overwritten
            images[row] = images[i]
    images = images[: len(readable)]
    images.setflags(write=False)
    return images
