"""Candidates that are no games, made ready for a page."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from vlm_games.report.gallery import Album

# kept -> (heading, id of the section)
SECTIONS = {True: ("Kept", "kept"), False: ("Dropped", "dropped")}


@dataclasses.dataclass(frozen=True)
class Picture:
    """An image of a candidate, made when it is looked at.

    Attributes:
      label: what is to be seen; "" where there is but one.
      draw: gives uint8 [H, W, 3].
    """

    label: str
    draw: Callable[[], np.ndarray]


@dataclasses.dataclass(frozen=True)
class CandidateView:
    """One candidate.

    Attributes:
      name: such as "Pair 17". iteration: that it is of.
      kept: whether it was learned from. note: why not, or how sure; or "".
      pictures: none of text alone.
      lines: (label, text, whether it is true or None where nobody knows).
    """

    name: str
    iteration: int
    kept: bool
    note: str
    pictures: Sequence[Picture]
    lines: Sequence[tuple[str, str, bool | None]]


def foremost(views: Sequence[CandidateView], most: int) -> list[CandidateView]:
    """The first `most` that were kept, then the first `most` of the others."""
    return [
        view
        for kept in SECTIONS
        for view in [v for v in views if v.kept == kept][:most]
    ]


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
        "pictures": [(p.label, album.add(p.draw())) for p in view.pictures],
    }
