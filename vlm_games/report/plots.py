"""Drawings for notebooks and papers, by matplotlib.

Each returns a `Figure` that no window knows of: a notebook shows it where it
is a cell's last line, `figure.savefig("game.pdf")` keeps it.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from vlm_games.report import comparison, measures, tables
from vlm_games.report.gallery import PIXELATED_BELOW, GameView
from vlm_games.report.svg import value_ticks

try:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle
except ImportError as error:
    raise ImportError(
        "Drawings need matplotlib: pip install 'vlm_games[notebooks]'."
    ) from error

COLOURS = ("#1d5fc4", "#bb5606", "#0f7f62", "#7c3fc8", "#b0306a", "#6f6a06")
INK, SOFT, LINE, GOOD, BAD = (
    "#1c1e21",
    "#5d636b",
    "#e3e3de",
    "#14743f",
    "#b3261e",
)
MARKERS = "osD^v"
DPI = 80
INCH = 1.15  # per image of a game
WORDS = 2.5  # room for question and answer, in images
TURN = 0.5  # height of a turn, in images


def draw_game(
    view: GameView,
    chances: np.ndarray | None = None,
    turns: int | None = None,
) -> Figure:
    """A game: its images side by side, below them what each turn told.

    Args:
      view: the game, as a method's `show` gives it.
      chances: [T, N] of `methods.guess_chances`, drawn below the belief; None
        leaves them out.
      turns: only so many of them, and no guess; None for the whole game.
    """
    record, n = view.record, len(view.images)
    said = record["turns"] if turns is None else record["turns"][:turns]
    height = 1.3 + TURN * len(said) + 0.15 * bool(said)
    figure = Figure(figsize=(INCH * (WORDS + n + 0.05), INCH * height), dpi=DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(
        xlim=(-WORDS, n + 0.05), ylim=(1.05 - height, 1.05), aspect="equal"
    )
    axes.axis("off")
    guess = record.get("guess") if turns is None else None
    for k, image in enumerate(view.images):
        _picture(axes, k, image, k == record["target"], k == guess)
    if guess is None and turns is None:
        axes.text(-WORDS + 0.1, 0.5, record.get("reason") or "", color=BAD)
    for row, turn in enumerate(said):
        y = -0.13 - TURN * (row + 1)
        _words(axes, y, turn)
        if turn.get("belief"):
            _bars(axes, y + 0.25, turn["belief"], COLOURS[0])
        if chances is not None:
            _bars(axes, y + 0.05, chances[row], COLOURS[1])
    if said:
        _legend(axes, 1.08 - height, chances is not None)
    return figure


def draw_curves(arms: Mapping[str, list[dict]]) -> Figure:
    """Every measure by iteration, a curve per arm.

    Args:
      arms: arm -> its metrics, as `self_improve` gives them.
    """
    taken = measures.taken(arms)
    figure, places = _grid(len(taken), 2.6)
    for axes, m in zip(places, taken, strict=True):
        curves = tables.curves(arms, m)
        for i, (arm, points) in enumerate(curves.items()):
            if points:
                axes.plot(
                    *zip(*points, strict=True),
                    color=COLOURS[i % len(COLOURS)],
                    marker=MARKERS[i % len(MARKERS)],
                    linestyle="--" if i else "-",
                    zorder=2 if i else 3,  # main on top
                    label=arm,
                )
        values = [v for points in curves.values() for _, v in points]
        if values:
            axes.set_yticks(value_ticks(values))
        last = max((i for c in curves.values() for i, _ in c), default=0)
        names = ["base", *map(str, range(1, last + 1))]
        axes.set_xticks(range(last + 1), names)
        axes.set_title(f"{m.label}, %", fontsize=10, loc="left")
    places[0].legend(frameon=False, fontsize=8)
    return figure


def draw_comparison(rows: Sequence[dict]) -> Figure:
    """Per measure what every method gained after its last round.

    A disc is a method's main arm with its 95% interval over seeds, a ring one
    of its controls.

    Args:
      rows: of `comparison.rows`, or of a comparison.json.
    """
    taken = comparison.taken_in(rows)
    methods = list(dict.fromkeys(r["method"] for r in rows))
    figure, places = _grid(len(taken), 0.8 + 0.3 * len(methods))
    for axes, m in zip(places, taken, strict=True):
        axes.axvline(0, color=SOFT, linewidth=0.8)
        for y, method in enumerate(methods):
            _gains(axes, y, rows, method, m.key)
        axes.set_yticks(range(len(methods)), methods)
        axes.set_ylim(len(methods) - 0.5, -0.5)
        axes.set_title(f"{m.label}, points", fontsize=10, loc="left")
    return figure


def _gains(axes: Axes, y: int, rows, method: str, key: str) -> None:
    """The arms of one method on one line, main in front."""
    arms = dict.fromkeys(r["arm"] for r in rows if r["method"] == method)
    for arm in arms:
        found = comparison.gains(rows, method, arm, key)
        if not found:
            continue
        main = arm == measures.MAIN
        axes.errorbar(
            found[-1]["mean"],
            y,
            xerr=found[-1]["half_width"] if main else None,
            color=COLOURS[0] if main else COLOURS[1],
            marker="o",
            markerfacecolor=COLOURS[0] if main else "white",
            zorder=3 if main else 2,
        )


def _grid(count: int, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of `count` places, two in a row, each so many inches high."""
    lines = -(-count // 2)
    figure = Figure(
        figsize=(8.4, height * lines), dpi=DPI, layout="constrained"
    )
    places = [figure.add_subplot(lines, 2, i + 1) for i in range(count)]
    for axes in places:
        axes.grid(color=LINE)
        axes.set_axisbelow(True)
        axes.tick_params(labelsize=8, colors=SOFT)
        axes.spines[:].set_visible(False)
    return figure, places


def _picture(axes: Axes, k: int, image, target: bool, guess: bool) -> None:
    """Image k of a game, with what it was."""
    small = max(image.shape[:2]) < PIXELATED_BELOW
    axes.imshow(
        image,
        extent=(k + 0.05, k + 0.95, 0.05, 0.95),
        interpolation="nearest" if small else "antialiased",
    )
    # `imshow` sets limits of its own.
    axes.autoscale(False)
    if target or guess:
        colour = COLOURS[0] if target else BAD
        style = "-" if target else "--"
        axes.add_patch(
            Rectangle(
                (k + 0.03, 0.03),
                0.94,
                0.94,
                fill=False,
                edgecolor=colour,
                linewidth=3,
                linestyle=style,
            )
        )
    marks = ["target"] * target + ["guessed"] * guess
    axes.text(
        k + 0.5,
        -0.02,
        ", ".join([str(k + 1), *marks]),
        ha="center",
        va="top",
        fontsize=9,
        color=INK,
    )


def _words(axes: Axes, y: float, turn: Mapping) -> None:
    """Question and answer of a turn, left of its bars."""
    true = turn.get("true")
    mark = {None: "", True: "  ✓", False: "  ✗"}[true]
    left = -WORDS + 0.1
    axes.text(left, y + 0.32, turn["question"], fontsize=9, color=INK)
    axes.text(
        left + 0.2,
        y + 0.1,
        turn["answer"] + mark,
        fontsize=9,
        fontweight="bold",
        color={None: INK, True: GOOD, False: BAD}[true],
    )


def _bars(axes: Axes, y: float, shares: Sequence[float], colour: str) -> None:
    """A bar per image, as long as its share from 0 to 1, and percent."""
    for k, share in enumerate(shares):
        room = Rectangle((k + 0.06, y), 0.56, 0.12, color=LINE, linewidth=0)
        axes.add_patch(room)
        axes.add_patch(
            Rectangle(
                (k + 0.06, y), 0.56 * share, 0.12, color=colour, linewidth=0
            )
        )
        text = f"{100 * share:.0f} %"
        axes.text(k + 0.96, y + 0.06, text, ha="right", va="center", fontsize=8)


def _legend(axes: Axes, y: float, chances: bool) -> None:
    """What the two kinds of bars are, below the game."""
    axes.text(0.06, y, "what the answers tell", fontsize=8, color=COLOURS[0])
    if chances:
        axes.text(
            2.0, y, "what the Guesser would say", fontsize=8, color=COLOURS[1]
        )
