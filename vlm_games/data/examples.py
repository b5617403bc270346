"""A training example: text with images, and which words are to be learned.

    trunk                    branches (each sees the trunk and itself)
    <image>            -+--  question : is there a circle ? answer : [yes]
                        +--  question : where is the ring ? answer : [none]

Branches let many short exchanges about the same images share the reading of
those images; an example without branches is a plain sequence.
"""

import dataclasses

IMAGE = "<image>"


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
