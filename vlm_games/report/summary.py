"""summary.json and the table a run prints when it ends."""

import json
import os
from collections.abc import Mapping

from vlm_games.data import atomic
from vlm_games.report import measures

KEYS = (
    "iteration",
    "game_success",
    "vqa_yes_no",
    "vqa_other",
    "source_yes_no",
    "games_played",
    "games_kept",
    "seconds",
)


def summary_rows(main_metrics: list[dict]) -> list[dict]:
    """One row per iteration of the main arm, earliest first; 0 is the base.

    Args:
      main_metrics: the metrics.json of each iteration.

    Returns:
      rows with exactly `KEYS`; None where a figure is missing or not finite, so
      that the rows are valid JSON.
    """
    return [
        {key: measures.figure(row, key) for key in KEYS}
        for row in measures.ordered(main_metrics)
    ]


def write_summary(path: str | os.PathLike, rows: list[dict]) -> None:
    """Writes the rows as JSON, in one step: the old file or the new one."""
    text = json.dumps(rows, indent=2, allow_nan=False) + "\n"
    atomic.write_bytes(path, text.encode())


def format_table(
    arms: Mapping[str, list[dict]], own_images: bool = False
) -> str:
    """The iterations of main, then the last one of every control, as text.

    Percentages carry their difference to the base, "78.4 (+3.1)"; a missing
    figure is "-".

    Args:
      own_images: see `measures.taken`.
    """
    base, taken = measures.base_of(arms), measures.taken(arms, own_images)
    header = [
        "arm",
        "iter",
        *(m.short for m in taken),
        "kept/played",
        "seconds",
    ]
    rows = [
        _cells(measures.MAIN, row, base, taken)
        for row in measures.ordered(arms.get(measures.MAIN, []))
    ]
    n_main = len(rows)
    for name, metrics in measures.controls_of(arms).items():
        rows.append(_cells(name, measures.last_of(metrics), base, taken))
    widths = [
        max(map(len, column)) for column in zip(header, *rows, strict=True)
    ]
    rule = "  ".join("-" * width for width in widths)
    lines = [_line(row, widths) for row in [header, *rows]]
    lines.insert(1, rule)
    if 0 < n_main < len(rows):
        lines.insert(2 + n_main, rule)
    return "\n".join(lines)


def format_legend(
    arms: Mapping[str, list[dict]], own_images: bool = False
) -> str:
    """What the words of the table mean."""
    lines = [
        "Percent, and points over the base; seconds are of that round alone.",
        "yes/no: balanced accuracy on held-out target images; other: accuracy "
        "where",
        "the answer is another word; source yes/no: where the base learned "
        "(forgetting).",
    ]
    if own_images:
        lines.append(f"* {measures.ELSEWHERE}.")
        few = measures.too_few(arms)
        lines += [f"Game success: {few}."] if few else []
    return "\n".join(lines)


def _cells(arm: str, row: dict | None, base: dict | None, taken) -> list[str]:
    played, kept = (
        measures.plain(measures.figure(row, key), 0)
        for key in ("games_played", "games_kept")
    )
    return [
        arm,
        measures.plain(measures.figure(row, "iteration"), 0),
        *(_percent(row, base, m.key) for m in taken),
        "-" if played == kept == "-" else f"{kept}/{played}",
        measures.plain(measures.figure(row, "seconds"), 0),
    ]


def _percent(row: dict | None, base: dict | None, key: str) -> str:
    """ "78.4 (+3.1)", padded so that the decimal points of a column align."""
    value = measures.figure(row, key)
    if value is None:
        return f"-{' ':8}"
    change = measures.signed(measures.gain(value, measures.figure(base, key)))
    change = f"({change})" if change and row is not base else ""
    return f"{value:.1f} {change:>7}"


def _line(cells: list[str], widths: list[int]) -> str:
    """The arm's name to the left, every figure to the right."""
    first, *rest = zip(cells, widths, strict=True)
    line = "  ".join(
        [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]
    )
    return line.rstrip()
