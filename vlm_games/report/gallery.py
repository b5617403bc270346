"""Played games made ready for the page: pictures, marks, turns, verdicts."""

import base64
import dataclasses
import hashlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL.Image
from markupsafe import Markup

from vlm_games.report import svg

PIXELATED_BELOW = 128  # pixels; smaller pictures are enlarged without blur

# outcome in the record -> (heading, id of the section, in reading order)
SECTIONS = {
    "success": ("Won", "won"),
    "lose": ("Lost", "lost"),
    "aborted": ("Aborted", "aborted"),
}


@dataclasses.dataclass(frozen=True)
class GameView:
    """One game and the pictures it was played on.

    Attributes:
      record: the game's record, in the JSON shape of a dialog shard.
      images: uint8 [H, W, 3] each, in the Guesser's order.
    """

    record: dict[str, Any]
    images: Sequence[np.ndarray]

    def __post_init__(self):
        n = len(self.record["images"])
        if len(self.images) != n:
            raise ValueError(
                f"game {self.record['game']} was played on {n} images, but "
                f"{len(self.images)} pictures were given; pass one per image, "
                "in the Guesser's order"
            )
        for image in self.images:
            if (
                image.dtype != np.uint8
                or image.ndim != 3
                or image.shape[2] != 3
            ):
                raise ValueError(
                    f"expected uint8 pictures [H, W, 3], got "
                    f"{image.dtype} {list(image.shape)}"
                )


class Album:
    """The page's pictures; equal ones share one entry, and so one embedding."""

    def __init__(self):
        self._names: dict[str, str] = {}  # digest -> CSS class
        self._rules: list[str] = []

    def add(self, image: np.ndarray) -> str:
        """CSS class that shows `image` (uint8 [H, W, 3]) as the background."""
        digest = hashlib.sha256(
            repr(image.shape).encode() + image.tobytes()
        ).hexdigest()
        if digest not in self._names:
            name = self._names[digest] = f"pic-{len(self._names)}"
            height, width = image.shape[:2]
            pixelated = (
                ";image-rendering:pixelated"
                if max(height, width) < PIXELATED_BELOW
                else ""
            )
            self._rules.append(
                f".{name}{{aspect-ratio:{width}/{height}{pixelated};"
                f"background-image:url({data_uri(image)})}}"
            )
        return self._names[digest]

    def css(self) -> Markup:
        """One rule per distinct picture; made of base64 and numbers only."""
        return Markup("\n".join(self._rules))


def data_uri(image: np.ndarray) -> str:
    """uint8 [H, W, 3] as a data: URI that holds a PNG."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(image).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(
        buffer.getvalue()
    ).decode("ascii")


def sections(games: Sequence[GameView], album: Album) -> list[dict]:
    """The games by outcome: won, lost, aborted; empty sections left out."""
    found = []
    for outcome, (heading, anchor) in SECTIONS.items():
        cards = [
            card(g, album) for g in games if g.record["outcome"] == outcome
        ]
        if cards:
            found.append({"heading": heading, "anchor": anchor, "cards": cards})
    return found


def card(game: GameView, album: Album) -> dict:
    """What the template shows of one game."""
    record = game.record
    heading, anchor = SECTIONS[record["outcome"]]
    return {
        "template": "game.html.jinja",
        "record": record,
        "outcome": heading.lower(),
        "style": anchor,
        "pictures": [
            _picture(record, i, album.add(image))
            for i, image in enumerate(game.images)
        ],
        "turns": [_turn(turn, record["target"]) for turn in record["turns"]],
        "summaries": _summaries(record),
        "answered_right": _answered_right(record),
    }


def _picture(record: dict, i: int, css_class: str) -> dict:
    """One image with its marks; its number counts from one for the reader."""
    names, belief = record.get("names") or [], record.get("belief") or []
    return {
        "number": i + 1,
        "name": names[i] if i < len(names) else "",
        "css": css_class,
        "target": i == record["target"],
        "guess": i == record.get("guess"),
        "belief": belief[i] if i < len(belief) else None,
    }


def _turn(turn: dict, target: int) -> dict:
    belief = turn.get("belief")
    return {
        "question": turn["question"],
        "answer": turn["answer"],
        "true": turn.get("true"),
        "question_note": _log_probability(turn.get("question_logprob")),
        "answer_note": _answer_note(turn),
        "belief": svg.belief_bars(belief, target) if belief else "",
    }


def _log_probability(value: float | None) -> str:
    return "" if value is None else f"log-probability {value:.2f}"


def _answer_note(turn: dict) -> str:
    """How likely it was, and what became of the turn put openly, told again."""
    note, again = _log_probability(turn.get("answer_logprob")), None
    put = turn.get("openly")
    if put:
        holds = "holds" if put["holds"] else "does not hold"
        put = f"put openly: {put['question']} {put['answer']}, so it {holds}"
    if turn.get("retold"):
        found = turn["retold"]
        again = (
            f"told again: {found['question']} {found['answer']}, "
            f"score {found['score']:.2f}"
        )
    return "; ".join(filter(None, (note, put, again)))


def _summaries(record: dict) -> list[tuple[str, str]]:
    """(when, text) of the running summary, each text only where it is new."""
    steps = [
        (f"before question {i + 1}", turn.get("summary") or "")
        for i, turn in enumerate(record["turns"])
    ]
    steps.append(("before the guess", record.get("final_summary") or ""))
    new, seen = [], ""
    for when, text in steps:
        if text and text != seen:
            new.append((when, text))
            seen = text
    return new


def _answered_right(record: dict) -> str:
    """ "3 of 4 answers true", or "" where the world does not know."""
    known = [t["true"] for t in record["turns"] if t.get("true") is not None]
    return f"{sum(known)} of {len(known)} answers true" if known else ""
