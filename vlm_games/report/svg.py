"""Inline SVG drawings, as pure functions from figures to markup.

Colours are CSS classes (`arm-0`, `arm-1`, ...) so that the page's light and
dark themes restyle a drawing; arms differ in marker and dash as well, so that
no reading rests on colour alone.
"""

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup

N_COLORS = 7  # classes arm-0 .. arm-6 in report.css
WIDTH, HEIGHT = 440, 250
LEFT, RIGHT, TOP, BOTTOM = 34, 102, 24, 36  # room for the axes and end labels
LABEL_GAP = 13  # smallest distance between two end labels, in drawing units
MIN_SPAN = 8.0  # points: a flat curve shall look flat

Points = Sequence[tuple[int, float]]  # (iteration, percent)


def line_chart(series: Mapping[str, Points], title: str) -> Markup:
    """A curve per arm over the iterations, with markers, labels and tooltips.

    Args:
      series: arm -> its points; arms without points are left out but keep their
        colour, so an arm looks the same in every chart.
      title: read out in place of the drawing.
    """
    drawn = {name: points for name, points in series.items() if points}
    if not drawn:
        return Markup('<p class="empty">not measured</p>')
    steps = [i for points in drawn.values() for i, _ in points]
    ticks = value_ticks([v for points in drawn.values() for _, v in points])
    last = max(max(steps), 1)

    def x(iteration: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * iteration / last

    def y(percent: float) -> float:
        share = (percent - ticks[0]) / (ticks[-1] - ticks[0])
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share

    parts = [_axes(ticks, last, x, y)]
    rank = {name: i for i, name in enumerate(series)}
    for name in reversed(drawn):  # main is first, and is drawn on top
        parts.append(_curve(name, rank[name], drawn[name], x, y))
    parts.append(_end_labels(drawn, rank, y))
    return Markup(
        '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">'
        "{}</svg>"
    ).format(WIDTH, HEIGHT, title, Markup("").join(parts))


def value_ticks(values: Sequence[float]) -> list[float]:
    """Three to seven round percentages around the values, within 0-100."""
    low, high = min(values), max(values)
    slack = max(MIN_SPAN - (high - low), 0.0) / 2
    low, high = low - slack, high + slack
    step = next(
        s
        for s in (2, 5, 10, 20, 25)
        if math.ceil(high / s) - math.floor(low / s) <= 6
    )
    first = max(math.floor(low / step), 0)
    end = min(math.ceil(high / step), math.ceil(100 / step))
    return [float(step * k) for k in range(first, max(end, first + 1) + 1)]


def _axes(ticks, last, x, y) -> Markup:
    line = Markup(
        '<line class="grid" x1="{}" x2="{:.1f}" y1="{:.1f}" '
        'y2="{:.1f}"/><text x="{}" y="{:.1f}" text-anchor="end">'
        "{:g}</text>"
    )
    parts = [
        line.format(LEFT, x(last), y(v), y(v), LEFT - 7, y(v) + 3.5, v)
        for v in ticks
    ]
    tick = Markup('<text x="{:.1f}" y="{}" text-anchor="middle">{}</text>')
    every = math.ceil(last / 8)
    parts += [
        tick.format(x(i), HEIGHT - BOTTOM + 16, "base" if i == 0 else i)
        for i in range(0, last + 1, every)
    ]
    parts.append(tick.format((x(0) + x(last)) / 2, HEIGHT - 4, "iteration"))
    parts.append(Markup('<text x="0" y="{}">%</text>').format(TOP - 14))
    return Markup("").join(parts)


def _curve(name, rank, points, x, y) -> Markup:
    path = " ".join(f"{x(i):.1f},{y(v):.1f}" for i, v in points)
    # A wide invisible disc makes the tooltip easy to hit.
    dot = Markup(
        '<g>{}<circle class="hit" cx="{:.1f}" cy="{:.1f}" r="11"/>'
        "<title>{}, {}: {:.1f} %</title></g>"
    )
    dots = [
        dot.format(
            marker(rank, x(i), y(v)),
            x(i),
            y(v),
            name,
            f"iteration {i}" if i else "base",
            v,
        )
        for i, v in points
    ]
    return Markup('<g class="{}"><polyline points="{}"/>{}</g>').format(
        style_of(rank), path, Markup("").join(dots)
    )


def _end_labels(drawn, rank, y) -> Markup:
    """The last value of every arm beside its curve, pushed apart if close."""
    ends = sorted((y(points[-1][1]), name) for name, points in drawn.items())
    places, floor = [], TOP
    for at, _ in ends:
        places.append(max(at, floor))
        floor = places[-1] + LABEL_GAP
    # A stack that ran past the bottom moves up as one.
    excess = max(places[-1] - (HEIGHT - BOTTOM + LABEL_GAP), 0.0)
    label = Markup(
        '<text class="end {}" x="{}" y="{:.1f}"><tspan>{:.1f}</tspan> {}</text>'
    )
    return Markup("").join(
        label.format(
            style_of(rank[name]),
            WIDTH - RIGHT + 10,
            at - excess + 3.5,
            drawn[name][-1][1],
            shorten(name),
        )
        for at, (_, name) in zip(places, ends, strict=True)
    )


def style_of(rank: int) -> str:
    """CSS classes of the arm at this place in the legend."""
    return f"arm-{rank % N_COLORS} {'control' if rank else 'main'}"


def shorten(name: str, limit: int = 11) -> str:
    return name if len(name) <= limit else name[: limit - 1] + "…"


def marker(rank: int, cx: float, cy: float) -> Markup:
    """The arm's marker: disc, square, diamond, triangle, or tipped triangle."""
    if rank == 0:
        return Markup(
            '<circle class="mark" cx="{:.1f}" cy="{:.1f}" r="4"/>'
        ).format(cx, cy)
    shapes = (
        ((-3.5, -3.5), (3.5, -3.5), (3.5, 3.5), (-3.5, 3.5)),
        ((0, -5), (5, 0), (0, 5), (-5, 0)),
        ((0, -5), (4.5, 3.5), (-4.5, 3.5)),
        ((0, 5), (4.5, -3.5), (-4.5, -3.5)),
    )
    corners = shapes[(rank - 1) % len(shapes)]
    points = " ".join(f"{cx + dx:.1f},{cy + dy:.1f}" for dx, dy in corners)
    return Markup('<polygon class="mark" points="{}"/>').format(points)


def legend_key(rank: int) -> Markup:
    """A short piece of the arm's curve, for the legend."""
    return Markup(
        '<svg class="key" viewBox="0 0 30 12" aria-hidden="true">'
        '<g class="{}"><polyline points="1,6 29,6"/>{}</g></svg>'
    ).format(style_of(rank), marker(rank, 15, 6))


def shift(before: float | None, after: float | None) -> Markup:
    """A ring at the base's percentage and a disc at the last, on 0-100.

    Places are percentages of the drawing's own width, so it fills a table cell
    of any width without scaling its marks.
    """
    parts = [Markup('<line class="grid" x1="0%" x2="100%" y1="8" y2="8"/>')]
    if before is not None and after is not None:
        parts.append(
            Markup(
                '<line class="{}" x1="{:.2f}%" x2="{:.2f}%" y1="8" y2="8"/>'
            ).format("up" if after >= before else "down", before, after)
        )
    dot = Markup('<circle class="{}" cx="{:.2f}%" cy="8" r="4"/>')
    parts += [
        dot.format(css, value)
        for css, value in (("before", before), ("after", after))
        if value is not None
    ]
    return Markup(
        '<svg class="shift" height="16" aria-hidden="true">{}</svg>'
    ).format(Markup("").join(parts))


def belief_bars(belief: Sequence[float], target: int | None) -> Markup:
    """A bar per image (0-1), that of the target filled, with tooltips."""
    bar = Markup(
        '<g><rect class="room" x="{}" y="0" width="8" height="20"/>'
        '<rect class="{}" x="{}" y="{:.1f}" width="8" '
        'height="{:.1f}"/><title>image {}: {:.0%}</title></g>'
    )
    parts = []
    for i, p in enumerate(belief):
        tall = max(20 * min(max(p, 0.0), 1.0), 0.8)  # a trace even at zero
        parts.append(
            bar.format(
                11 * i,
                "target" if i == target else "rest",
                11 * i,
                20 - tall,
                tall,
                i + 1,
                p,
            )
        )
    return Markup(
        '<svg class="belief" width="{}" height="20" role="img" '
        'aria-label="belief after this turn">{}</svg>'
    ).format(11 * len(belief) - 3, Markup("").join(parts))
