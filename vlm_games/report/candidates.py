"""Candidates that are no games, made ready for the page."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from vlm_games.report.gallery import Album

# kept -> (heading, id of the section)
SECTIONS = {True: ("Kept", "kept"), False: ("Dropped", "dropped")}


@dataclasses.dataclass(frozen=True)
class CandidateView:
    """One candidate.

    Attributes:
      name: such as "Pair 17". iteration: that it is of.
      kept: whether it was learned from. note: why not, or how sure; or "".
      images: uint8 [H, W, 3] each; none of text alone.
      lines: (label, text, whether it is true or None where nobody knows).
    """

    name: str
    iteration: int
    kept: bool
    note: str
    images: Sequence[np.ndarray]
    lines: Sequence[tuple[str, str, bool | None]]


def sections(found: Sequence[CandidateView], album: Album) -> list[dict]:
    """The kept ones, then the others; empty sections left out."""
    made = []
    for kept, (heading, anchor) in SECTIONS.items():
        cards = [card(c, album) for c in found if c.kept == kept]
        if cards:
            made.append({"heading": heading, "anchor": anchor, "cards": cards})
    return made


def card(view: CandidateView, album: Album) -> dict:
    """What the template shows of one candidate."""
    return {
        "template": "candidate.html.jinja",
        "view": view,
        "style": SECTIONS[view.kept][1],
        "pictures": [album.add(image) for image in view.images],
    }
