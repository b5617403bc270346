"""What playing on one source of images does to games on another."""

from collections.abc import Sequence

from vlm_games.report.intervals import interval
from vlm_games.report.measures import MAIN

GAMES = ("game_success", "game_success_likelihood")
ANSWERS = ("vqa_yes_no", "vqa_other")
NAMES = {
    "game_success": "Game success",
    "game_success_likelihood": "Game success, guessed by likelihood",
    "vqa_yes_no": "Yes/no questions",
    "vqa_other": "Other questions",
}


def markdown(rows: Sequence[dict]) -> str:
    """A table for each measure: a line for the base, in percent, and one for
    each source that was played on, and each control, in points over it; mean of
    the seeds ± half of the 95% interval.

    Args:
      rows: as `cross_measure.measure_all` gives them.
    """
    return "\n".join(
        _table(key, [r for r in rows if key in r]) for key in NAMES
    )


def _table(key: str, rows: Sequence[dict]) -> str:
    measured = list(dict.fromkeys(r["measured_on"] for r in rows))
    base = {r["measured_on"]: r[key] for r in rows if r["arm"] is None}
    lines = [
        [f"{NAMES[key]} on", *measured],
        ["base", *(f"{base[name]:.1f}" for name in measured)],
    ]
    models = dict.fromkeys((r["played_on"], r["arm"]) for r in rows)
    for played, arm in models:
        if arm is None:
            continue
        cells = []
        for name in measured:
            gains = [
                r[key] - base[name]
                for r in rows
                if (r["played_on"], r["arm"], r["measured_on"])
                == (played, arm, name)
            ]
            found = interval(gains)
            cells.append(f"{found['mean']:+.1f} ± {found['half_width']:.1f}")
        lines.append([_name(played, arm), *cells])
    head, *others = ("| " + " | ".join(line) + " |" for line in lines)
    return "\n".join([head, "|---" * len(lines[0]) + "|", *others]) + "\n"


def _name(played: str | None, arm: str) -> str:
    """What a line is called."""
    if played is None:
        return arm
    return f"played on {played}" + (f", {arm}" if arm != MAIN else "")
