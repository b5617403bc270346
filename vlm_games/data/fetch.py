"""Images by several workers, ahead of whoever uses them."""

import collections
import itertools
from collections.abc import Iterator, Sequence
from concurrent import futures
from typing import Protocol

import numpy as np

from vlm_games.data.scan import workers_or_cores

AHEAD = 2  # pieces that are decoded while one is used


class Images(Protocol):
    """A bank: an `ImageSource`, or anything that gives images by number."""

    def __getitem__(self, index: int, /) -> np.ndarray:
        """uint8 [H, W, 3]."""


def fetch(
    images: Images,
    indices: Sequence[int] | np.ndarray,
    workers: int | None = None,
) -> np.ndarray:
    """uint8 [n, H, W, 3], images by their numbers.

    Args:
      workers: threads that decode; 0 or None takes one per core, at most 8.
    """
    with futures.ThreadPoolExecutor(workers_or_cores(workers)) as pool:
        return np.stack(list(pool.map(images.__getitem__, map(int, indices))))


def pieces(
    images: Images,
    indices: Sequence[int] | np.ndarray,
    size: int,
    workers: int | None = None,
) -> Iterator[np.ndarray]:
    """As `fetch`, `size` images at a time, the last piece shorter.

    While one is used the next AHEAD are decoded; no more are in memory.
    """
    starts = iter(range(0, len(indices), size))
    with futures.ThreadPoolExecutor(workers_or_cores(workers)) as pool:

        def begin(start: int) -> list[futures.Future]:
            wanted = indices[start : start + size]
            return [pool.submit(images.__getitem__, int(i)) for i in wanted]

        waiting = collections.deque(
            begin(start) for start in itertools.islice(starts, 1 + AHEAD)
        )
        try:
            while waiting:
                yield np.stack([found.result() for found in waiting.popleft()])
                waiting.extend(map(begin, itertools.islice(starts, 1)))
        finally:
            # Whoever stops half-way does not wait for what nobody wants.
            pool.shutdown(wait=False, cancel_futures=True)
