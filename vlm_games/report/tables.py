"""What each table and chart of the page shows, as plain dicts."""

from collections.abc import Mapping, Sequence

from vlm_games.report import measures, svg

# Signs that games are won without seeing; metrics.json -> (label, decimals).
GUARDS = {
    "blind_success": ("Blind success", 1),
    "cross_success": ("Cross-play success", 1),
    "distinct_questions": ("Distinct questions", 1),
    "answer_entropy": ("Answer entropy", 2),
}


def tiles(
    arms: Mapping[str, list[dict]], taken: Sequence[measures.Measure]
) -> list[dict]:
    """The headline figures: the last value of main and its change."""
    base, last = (
        measures.base_of(arms),
        measures.last_of(arms.get(measures.MAIN, [])),
    )
    return [_cell(last or base, base, m.key) | {"measure": m} for m in taken]


def iterations(
    arms: Mapping[str, list[dict]], taken: Sequence[measures.Measure]
) -> list[dict]:
    """Every iteration of main, then the last one of every control."""
    base = measures.base_of(arms)
    found: list[tuple[str, dict | None]]
    found = [("main", row) for row in arms.get(measures.MAIN, [])]
    found += [
        (name, measures.last_of(rows))
        for name, rows in measures.controls_of(arms).items()
    ]
    rank = list(arms)
    return [
        {
            "arm": name,
            "key": svg.legend_key(rank.index(name)),
            "control": name != measures.MAIN,
            "iteration": measures.figure(row, "iteration"),
            "cells": [_cell(row, base, m.key) for m in taken],
            "played": measures.figure(row, "games_played"),
            "kept": measures.figure(row, "games_kept"),
            "seconds": measures.figure(row, "seconds"),
        }
        for name, row in found
    ]


def _cell(row: dict | None, base: dict | None, key: str) -> dict:
    value = measures.figure(row, key)
    change = (
        None
        if row is base
        else measures.gain(value, measures.figure(base, key))
    )
    return {"value": value, "change": change, "way": _way(change)}


def _way(change: float | None) -> str:
    """The CSS class of a change."""
    if change is None or round(change, 1) == 0:
        return "same"
    return "up" if change > 0 else "down"


def charts(
    arms: Mapping[str, list[dict]], taken: Sequence[measures.Measure]
) -> list[tuple]:
    """(measure, drawing); a control's curve starts at the shared base."""
    return [
        (m, svg.line_chart(curves(arms, m), f"{m.label} by iteration"))
        for m in taken
    ]


def curves(
    arms: Mapping[str, list[dict]], measure: measures.Measure
) -> dict[str, list[tuple[int, float]]]:
    """Arm -> (iteration, percent), earliest first; a control has the shared
    base in front, but not by itself."""
    base = measures.figure(measures.base_of(arms), measure.key)
    found = {}
    for name, rows in arms.items():
        points = [
            (row["iteration"], value)
            for row in rows
            if (value := measures.figure(row, measure.key)) is not None
        ]
        if points and name != measures.MAIN and base is not None:
            points.insert(0, (0, base))
        found[name] = points
    return found


def filters(main: list[dict]) -> list[dict]:
    """The filters of every iteration that has them, the latest first."""
    return [
        {
            "iteration": row["iteration"],
            "rows": [
                {"name": name}
                | {
                    key: measures.figure(entry, key)
                    for key in (
                        "kept",
                        "of",
                        "truth_kept",
                        "truth_dropped",
                        "lift",
                    )
                }
                for name, entry in row["filters"].items()
            ],
        }
        for row in reversed(main)
        if row.get("filters")
    ]


def guards(main: list[dict]) -> list[dict]:
    """The guards of every iteration, beside the success they put in doubt."""
    rows = [
        {
            "iteration": row["iteration"],
            "success": measures.figure(row, "game_success"),
            "values": [
                (measures.figure(row, key), digits)
                for key, (_, digits) in GUARDS.items()
            ],
        }
        for row in main
    ]
    known = any(v is not None for row in rows for v, _ in row["values"])
    return rows if known else []


def kinds(arms: Mapping[str, list[dict]]) -> list[dict]:
    """Accuracy per kind of question: the base against the last of main."""
    before, after = (
        (row or {}).get("vqa_kinds") or {}
        for row in (
            measures.base_of(arms),
            measures.last_of(arms.get(measures.MAIN, [])),
        )
    )
    return [
        {
            "kind": kind,
            "before": measures.figure(before, kind),
            "drawing": svg.shift(
                measures.figure(before, kind), measures.figure(after, kind)
            ),
        }
        | _cell(after, before, kind)
        for kind in {**before, **after}
    ]


def phases(main: list[dict]) -> dict:
    """Seconds by phase of every iteration of main that was timed."""
    timed = [row for row in main if row.get("phase_seconds")]
    # The fullest row leads: the base is only evaluated, which comes last.
    fullest_first = sorted(timed, key=lambda row: -len(row["phase_seconds"]))
    names = list(
        dict.fromkeys(
            name for row in fullest_first for name in row["phase_seconds"]
        )
    )
    rows = []
    for row in timed:
        seconds = [measures.figure(row["phase_seconds"], n) for n in names]
        rows.append(
            {
                "iteration": row["iteration"],
                "seconds": seconds,
                "sum": sum(s or 0.0 for s in seconds),
                "total": measures.figure(row, "seconds"),
            }
        )
    longest = max((row["sum"] for row in rows), default=0.0)
    return {"names": names, "rows": rows, "longest": longest or 1.0}
