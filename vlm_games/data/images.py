"""What an image source is: a numbered collection of RGB arrays with names."""

import dataclasses
import functools
import hashlib
import operator
from collections.abc import Hashable, Sequence
from typing import Protocol

import numpy as np

from vlm_games.worlds import splits


def number(values: Sequence[Hashable | None]) -> np.ndarray:
    """int64 [n]; equal where values are, from 0 as they occur; -1 for None."""
    numbers: dict[Hashable, int] = {}
    found = [
        -1 if value is None else numbers.setdefault(value, len(numbers))
        for value in values
    ]
    return np.array(found, np.int64)


@dataclasses.dataclass(frozen=True)
class Groups:
    """What is known of n images beside their pixels; no label is among it.

    Attributes:
      duplicates: int64 [n], equal where two images are known to be the same.
      clusters, episodes, tasks: int64 [n], equal where two images are of one;
        -1 where an image is of none.
      steps: int64 [n], place of a frame among those of its episode.
      units: int64 [n], equal where two images are held out, or played on,
        together; see `units_of`.
    """

    duplicates: np.ndarray
    clusters: np.ndarray
    episodes: np.ndarray
    tasks: np.ndarray
    steps: np.ndarray
    units: np.ndarray

    @classmethod
    def unknown(cls, count: int, **known: np.ndarray) -> "Groups":
        """Nothing is known of `count` images but what is given."""
        order, none = np.arange(count), np.full(count, -1)
        fields = dict(duplicates=order, steps=order, units=order)
        fields |= dict(clusters=none, episodes=none, tasks=none)
        return cls(**(fields | known))

    def take(self, indices: Sequence[int]) -> "Groups":
        """Of some images, in the order given."""
        at = np.asarray(indices, np.int64)
        fields = dataclasses.fields(self)
        return Groups(**{f.name: getattr(self, f.name)[at] for f in fields})


def units_of(episodes: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """int64 [n]: of an image its episode, else its cluster, else it alone."""
    pairs = enumerate(zip(episodes.tolist(), clusters.tolist(), strict=True))
    return number(
        [
            ("episode", episode)
            if episode >= 0
            else ("cluster", cluster)
            if cluster >= 0
            else ("image", i)
            for i, (episode, cluster) in pairs
        ]
    )


class ImageSource(Protocol):
    """What a game needs of its images."""

    @property
    def names(self) -> Sequence[str]:
        """One per image, unique and stable between runs."""

    @property
    def groups(self) -> Groups:
        """What is known of the images."""

    def __len__(self) -> int:
        """Number of images."""

    def __getitem__(self, index: int) -> np.ndarray:
        """Image `index` as uint8 [H, W, 3], RGB; IndexError past the end.

        May be called by several threads at once.
        """

    def digest(self) -> str:
        """Hex string that changes when the images behind the indices do."""


@dataclasses.dataclass(frozen=True)
class Subset:
    """Some images of a source, renumbered; see `ImageSource`."""

    source: ImageSource
    indices: tuple[int, ...]

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        names = self.source.names
        return tuple(names[i] for i in self.indices)

    @functools.cached_property
    def groups(self) -> Groups:
        return self.source.groups.take(self.indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.source[self.indices[index]]

    def digest(self) -> str:
        """Of the source and of which images."""
        which = np.array(self.indices, np.int64).tobytes()
        return f"{self.source.digest()}:{hashlib.sha256(which).hexdigest()}"


class RenderedSource:
    """A split of the rendered world, whose scenes are known.

    Attributes:
      names: "<split>/<index>". groups: equal pictures alone.
      scenes: the scene behind each image, for measuring only.
      images: uint8 [len(self), size, size, 3], RGB, read-only.
    """

    def __init__(self, split: str, count: int | None = None, size: int = 32):
        """Renders the first `count` scenes of `split` (None: all of them)."""
        self.scenes, self.images = splits.load_split(split, count, size=size)
        self.images.setflags(write=False)
        self.names = tuple(f"{split}/{i:05d}" for i in range(len(self.scenes)))
        self.groups = Groups.unknown(
            len(self.scenes), duplicates=equal_pixels(self.images)
        )

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


def equal_pixels(images: np.ndarray) -> np.ndarray:
    """int64 [n] of uint8 [n, H, W, 3]; equal where all pixels are."""
    return number([hashlib.sha256(x).digest() for x in images])
