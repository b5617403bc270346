"""Several methods beside one another: rows, a table, a page with curves.

A row is one round of one arm of one run: `method`, `arm`, `seed`, `round` and
every measure; round 0 is the base.
"""

import json
import os
import pathlib
from collections.abc import Mapping, Sequence

import jinja2
from markupsafe import Markup

from vlm_games.data import atomic
from vlm_games.report import measures, svg
from vlm_games.report.intervals import interval

HERE = pathlib.Path(__file__).parent
COSTS = {
    "generated_tokens": "tokens said",
    "trained_tokens": "tokens trained",
    "seconds": "seconds",
}
Runs = Mapping[str, Sequence[Mapping[str, list[dict]]]]


def rows(runs: Runs) -> list[dict]:
    """All rows of all runs.

    Args:
      runs: method -> one run per seed, each arm -> metrics by round.
    """
    keys = [m.key for m in measures.MEASURES + measures.OPTIONAL]
    return [
        {"method": method, "arm": arm, "seed": seed, "round": m["iteration"]}
        | {key: measures.figure(m, key) for key in (*keys, *COSTS)}
        for method, seeds in runs.items()
        for seed, arms in enumerate(seeds)
        for arm, found in arms.items()
        for m in found
    ]


def taken_in(found: Sequence[dict]) -> list[measures.Measure]:
    """The measures that were taken; rows of a file may lack those of today."""
    return [
        m
        for m in measures.MEASURES + measures.OPTIONAL
        if any(r.get(m.key) is not None for r in found)
    ]


def gains(found: Sequence[dict], method: str, arm: str, key: str) -> list[dict]:
    """Per round after the base: `interval` of the gain over it, by seed."""
    base = {
        r["seed"]: r[key]
        for r in found
        if r["method"] == method and not r["round"]
    }
    here = [
        r
        for r in found
        if (r["method"], r["arm"]) == (method, arm) and r["round"]
    ]
    if not here or any(r[key] is None for r in here) or None in base.values():
        return []
    return [
        interval(
            [r[key] - base[r["seed"]] for r in here if r["round"] == number]
        )
        for number in sorted({r["round"] for r in here})
    ]


def verdicts(
    found: Sequence[dict], made_for: Mapping[str, tuple[str, str]]
) -> list[dict]:
    """Per method, on the measure that it is made for, after its last round:
    the gain over the base, and main minus its broken control, by seed.

    `over_control` is None where the control is ""."""
    told = []
    for method, (key, control) in made_for.items():
        last = max(r["round"] for r in found if r["method"] == method)
        value = {
            (r["arm"], r["seed"]): r[key]
            for r in found
            if r["method"] == method and r["round"] == last
        }
        ahead = [
            v - value[control, seed]
            for (arm, seed), v in sorted(value.items())
            if arm == measures.MAIN and control
        ]
        told.append(
            {
                "method": method,
                "measure": key,
                "control": control,
                "gain": gains(found, method, measures.MAIN, key)[-1],
                "over_control": interval(ahead) if control else None,
            }
        )
    return told


def cells_of(found: Sequence[dict]) -> list[list[str]]:
    """A table of gains after the last round, and what they cost: its head,
    the base, then one line per arm of a method."""
    taken = taken_in(found)
    head = ["method", "arm", *(m.short for m in taken), *COSTS.values()]
    lines = [head]
    base = next(r for r in found if not r["round"])
    cells = [measures.plain(base[m.key]) for m in taken]
    lines.append(["base", "", *cells, "", "", ""])
    for method, arm in dict.fromkeys((r["method"], r["arm"]) for r in found):
        cells = []
        for m in taken:
            found_gains = gains(found, method, arm, m.key)
            cells.append(_gain(found_gains[-1]) if found_gains else "-")
        for key in COSTS:
            own = [
                r[key]
                for r in found
                if (r["method"], r["arm"]) == (method, arm) and r["round"]
            ]
            own = [v for v in own if v is not None]
            mean = sum(own) / len(own) if own else None
            cells.append(measures.plain(mean, 0))
        lines.append([method, arm, *cells])
    return lines


def markdown(cells: Sequence[Sequence[str]]) -> str:
    """A table whose first line is its head."""
    head, *lines = ("| " + " | ".join(line) + " |" for line in cells)
    return "\n".join([head, "|---" * len(cells[0]) + "|", *lines]) + "\n"


def _gain(found: dict) -> str:
    return f"{found['mean']:+.1f} ± {found['half_width']:.1f}"


def charts(found: Sequence[dict]) -> list[tuple[str, Markup]]:
    """Per measure, the mean over seeds of every method's main arm by round."""
    methods = list(dict.fromkeys(r["method"] for r in found))
    drawn = []
    for m in taken_in(found):
        series = {}
        for method in methods:
            main = [
                r
                for r in found
                if r["method"] == method and r["arm"] == measures.MAIN
            ]
            by_round: dict[int, list[float]] = {}
            for r in main:
                if r[m.key] is not None:
                    by_round.setdefault(r["round"], []).append(r[m.key])
            series[method] = [
                (number, sum(v) / len(v))
                for number, v in sorted(by_round.items())
            ]
        if any(series.values()):
            drawn.append(
                (m.label, svg.line_chart(series, f"{m.label} by round"))
            )
    return drawn


def write(
    folder: str | os.PathLike,
    runs: Runs,
    made_for: Mapping[str, tuple[str, str]],
    command: str,
) -> str:
    """Writes comparison.json, .md and .html; returns the table and verdicts."""
    folder, found = pathlib.Path(folder), rows(runs)
    cells, told = cells_of(found), sentences(found, made_for)
    text = markdown(cells) + "\n" + "\n".join(told)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True
    )
    methods = list(dict.fromkeys(r["method"] for r in found))
    page = environment.get_template("comparison.html.jinja").render(
        css=Markup((HERE / "report.css").read_text(encoding="utf-8")),
        charts=charts(found),
        legend=[(name, svg.legend_key(i)) for i, name in enumerate(methods)],
        table=cells,
        verdicts=told,
        command=command,
    )
    for name, content in [
        (
            "comparison.json",
            json.dumps(found, indent=1, allow_nan=False) + "\n",
        ),
        ("comparison.md", f"{text}\n"),
        ("comparison.html", page),
    ]:
        atomic.write_bytes(folder / name, content.encode())
    return text


def sentences(
    found: Sequence[dict], made_for: Mapping[str, tuple[str, str]]
) -> list[str]:
    """The `verdicts`, one sentence per method."""
    return [_tell(verdict) for verdict in verdicts(found, made_for)]


def _tell(verdict: dict) -> str:
    """One sentence; "clear" means that no seed falls on the other side of 0
    and neither does the interval."""
    said = []
    for what, key in (
        ("over the base", "gain"),
        (f"over {verdict['control']}", "over_control"),
    ):
        found = verdict[key]
        if found is None:
            continue
        clear = found["mean"] - found["half_width"] > 0
        clear = clear and min(found["values"]) > 0
        said.append(f"{_gain(found)} {what}{'' if clear else ' (not clear)'}")
    return f"{verdict['method']}: {verdict['measure']} {', '.join(said)}"
