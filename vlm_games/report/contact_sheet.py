"""Image sets made ready for the page, as pictures alone."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from vlm_games.report.gallery import Album


@dataclasses.dataclass(frozen=True)
class SetView:
    """The images that a game is played on.

    Attributes:
      images: uint8 [H, W, 3] each, in the Guesser's order. names: of them.
      target: place of the one that the Describer sees.
    """

    images: Sequence[np.ndarray]
    names: Sequence[str]
    target: int


def rows(sets: Sequence[SetView], album: Album) -> list[list[dict]]:
    """What the template shows, a row of pictures for each set."""
    return [
        [
            {"css": album.add(image), "name": name, "target": i == one.target}
            for i, (image, name) in enumerate(
                zip(one.images, one.names, strict=True)
            )
        ]
        for one in sets
    ]
