"""A training example: text with images, and which words are to be learned.

    trunk                    branches (each sees the trunk and itself)
    <image>            -+--  question : is there a circle ? answer : [yes]
                        +--  question : where is the ring ? answer : [none]

Branches let many short exchanges about the same images share the reading of
those images; an example without branches is a plain sequence.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import overload

IMAGE = "<image>"
KEPT = 4096  # of the examples that are made when they are asked for


@dataclasses.dataclass(frozen=True)
class Piece:
    """A stretch of text.

    Attributes:
      text: words; `<image>` stands for the next of the example's images.
      weight: weight of the cross-entropy on these words; 0 for words that are
        only read.
    """

    text: str
    weight: float = 0.0


def said(text: str, weight: float = 1.0) -> Piece:
    """Words of a role, to be learned."""
    return Piece(text, weight)


def read(text: str) -> Piece:
    """Words that are only read."""
    return Piece(text, 0.0)


@dataclasses.dataclass(frozen=True)
class Example:
    """What one packed sequence is made from.

    Attributes:
      images: indices into the example's image bank, in order of `<image>`.
      trunk: pieces that every branch sees.
      branches: exchanges that do not see one another.
      reference: log-probability of each branch's learned words, summed, nats,
        under a reference model; () if there is none.
    """

    images: tuple[int, ...]
    trunk: tuple[Piece, ...]
    branches: tuple[tuple[Piece, ...], ...] = ()
    reference: tuple[float, ...] = ()


class Deferred(Sequence[Example]):
    """Examples that are made when they are asked for; the last ones are kept.

    Args:
      count: how many they are. make: of a number from 0.
      told: what `repr` says of them; with it equal, they are equal.
    """

    def __init__(self, count: int, make: Callable[[int], Example], told: str):
        self._count, self._told = count, told
        self._make = functools.lru_cache(KEPT)(make)

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, number: int) -> Example: ...

    @overload
    def __getitem__(self, number: slice) -> list[Example]: ...

    def __getitem__(self, number):
        places = range(self._count)[number]
        if isinstance(number, slice):
            return [self._make(place) for place in places]
        return self._make(places)

    def __eq__(self, other) -> bool:
        """As lists are."""
        same = isinstance(other, Sequence) and len(self) == len(other)
        return same and all(a == b for a, b in zip(self, other, strict=True))

    def __repr__(self) -> str:
        return f"Deferred({self._count}, {self._told})"
