"""The headline measures and how any figure is read and written out.

Every table, chart and sentence of the report takes its figures through
`figure`, so a measure that was not taken (absent, null, NaN) is missing in the
same way everywhere.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

MAIN = "main"  # the arm the controls are compared with; it holds the base


@dataclasses.dataclass(frozen=True)
class Measure:
    """One headline measure of an iteration.

    Attributes:
      key: its name in metrics.json; the value is in percent, 0-100.
      label: its name on the page.
      short: its name in the terminal table.
      phrase: its name inside a sentence.
      about: what is measured, in one line.
    """

    key: str
    label: str
    short: str
    phrase: str
    about: str


MEASURES = (
    Measure(
        "game_success",
        "Game success",
        "game success",
        "game success",
        "games in which the Guesser found the target",
    ),
    Measure(
        "vqa_yes_no",
        "Yes/no questions",
        "yes/no",
        "balanced yes/no accuracy on held-out target images",
        "balanced accuracy, held-out target images",
    ),
    Measure(
        "vqa_other",
        "Other questions",
        "other",
        "accuracy on the other questions about held-out target images",
        "accuracy, held-out target images",
    ),
    Measure(
        "source_yes_no",
        "Source yes/no",
        "source yes/no",
        "balanced yes/no accuracy on source images",
        "balanced accuracy, source images: shows forgetting",
    ),
)
# Shown where they were taken; see config.eval.
OPTIONAL = (
    Measure(
        "robot_success",
        "Did the robot succeed",
        "robot",
        "balanced accuracy on whether the robot succeeded",
        "balanced accuracy, last frames of held-out target episodes",
    ),
    Measure(
        "robot_source_success",
        "Did it, in the source",
        "robot source",
        "the same in the source domain",
        "balanced accuracy, last frames of held-out source episodes",
    ),
    Measure(
        "vqa_choice",
        "Multiple choice",
        "choice",
        "multiple-choice accuracy on held-out target images",
        "accuracy, options shuffled, held-out target images",
    ),
    Measure(
        "vqa_described_yes_no",
        "Yes/no, described first",
        "yes/no (DaR)",
        "balanced yes/no accuracy behind an own description",
        "balanced accuracy, the own description before the question",
    ),
    Measure(
        "vqa_described_other",
        "Other, described first",
        "other (DaR)",
        "accuracy on the other questions behind an own description",
        "accuracy, the own description before the question",
    ),
    Measure(
        "description_truth",
        "True descriptions",
        "described truly",
        "the share of true things in descriptions of held-out target images",
        "things said in descriptions that are true",
    ),
)
FEW = 50  # images: games on fewer tell no change
ELSEWHERE = "on rendered scenes, not on your images"


def figure(metrics: Mapping[str, Any] | None, key: str) -> float | None:
    """The number under `key`, or None where there is no finite number."""
    value = (metrics or {}).get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if math.isfinite(value) else None


def quality(own_images: bool = False) -> Measure:
    """The measure that decides whether a run helped: of a user's own images
    nobody knows what is true, and games alone are played on them."""
    return MEASURES[0] if own_images else MEASURES[1]


def taken(
    arms: Mapping[str, list[dict]], own_images: bool = False
) -> tuple[Measure, ...]:
    """The headline measures, and the optional ones that some row has.

    Args:
      own_images: whether games are played on images of the user's; then each
        measure says what it was taken on.
    """
    rows = [row for found in arms.values() for row in found]
    found = MEASURES + tuple(
        m
        for m in OPTIONAL
        if any(figure(row, m.key) is not None for row in rows)
    )
    if not own_images:
        return found
    games, *others = found
    return _on_own(games, too_few(arms)), *map(_elsewhere, others)


def too_few(arms: Mapping[str, list[dict]]) -> str:
    """That games were measured on few images; "" if not, or if unknown."""
    counts = [
        count
        for rows in arms.values()
        for row in rows
        if (count := figure(row, "game_images")) is not None
    ]
    if not counts or counts[0] >= FEW:
        return ""
    return f"{counts[0]:.0f} held-out images: too few to tell"


def _on_own(games: Measure, few: str) -> Measure:
    about = f"{games.about}, on your images"
    return dataclasses.replace(
        games,
        phrase=f"{games.phrase} on your images",
        about="; ".join(filter(None, (about, few))),
    )


def _elsewhere(measure: Measure) -> Measure:
    return dataclasses.replace(
        measure,
        label=f"{measure.label} (rendered scenes)",
        short=f"{measure.short}*",
        phrase=f"{measure.phrase} ({ELSEWHERE})",
        about=f"{measure.about}; {ELSEWHERE}",
    )


def gain(after: float | None, before: float | None) -> float | None:
    """after - before, or None where either is missing."""
    return None if after is None or before is None else after - before


def ordered(metrics: list[dict]) -> list[dict]:
    """The iterations of one arm, earliest first."""
    return sorted(metrics, key=lambda row: row.get("iteration", 0))


def base_of(arms: Mapping[str, list[dict]]) -> dict | None:
    """Iteration 0 of the main arm: the model before any game."""
    rows = (row for row in arms.get(MAIN, ()) if row.get("iteration") == 0)
    return next(rows, None)


def last_of(metrics: list[dict]) -> dict | None:
    """The last iteration of an arm that came after the base."""
    rows = [row for row in ordered(metrics) if row.get("iteration", 0) > 0]
    return rows[-1] if rows else None


def controls_of(arms: Mapping[str, list[dict]]) -> dict[str, list[dict]]:
    return {name: rows for name, rows in arms.items() if name != MAIN}


def plain(value: float | None, digits: int = 1, dash: str = "-") -> str:
    """A number with `digits` decimals; 1234 -> "1,234" when digits is 0."""
    if value is None or not math.isfinite(value):
        return dash
    return f"{value:,.{digits}f}"


def signed(value: float | None, digits: int = 1) -> str:
    """ "+3.1", "-0.4", "±0.0"; empty when missing."""
    if value is None:
        return ""
    if round(value, digits) == 0:
        return f"±{0:.{digits}f}"
    return f"{value:+.{digits}f}"
