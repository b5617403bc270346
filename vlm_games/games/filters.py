"""Which games to learn from: each filter is a verdict on one game.

What a filter sees is `Evidence`; how it is gathered is the method's affair.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from vlm_games.games.protocol import PlayedGame


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What is known of a played game; a part not gathered is None.

    Attributes:
      game: the game as played.
      shared: float [T, N], log-probability of each answer under each image,
        judged by the views the game was played with.
      views: the same judged by independent views of every image.
      again: outcomes of asking the Guesser again with the same dialog.
      reshuffled: outcomes of asking it under other image orders.
    """

    game: PlayedGame
    shared: np.ndarray | None = None
    views: np.ndarray | None = None
    again: tuple[bool, ...] | None = None
    reshuffled: tuple[bool, ...] | None = None


def _likeliest_is_target(log_probs, game: PlayedGame) -> bool:
    if not len(log_probs):
        return False
    return int(log_probs.sum(axis=0).argmax()) == game.spec.target


def complete(evidence: Evidence) -> bool:
    """Not aborted: the unfiltered control."""
    return evidence.game.reason is None


def success(evidence: Evidence) -> bool:
    """The Guesser named the target (the paper's filter)."""
    return evidence.game.success


def likelihood(evidence: Evidence) -> bool:
    """The target is the image that makes the answers most probable."""
    return _likeliest_is_target(evidence.shared, evidence.game)


def independent_views(evidence: Evidence) -> bool:
    """As `likelihood`, judged by other views than the Describer's.

    What both roles see wrongly in the same pixels does not pass twice.
    """
    return _likeliest_is_target(evidence.views, evidence.game)


def again(evidence: Evidence) -> bool:
    """Success, and success when the Guesser is asked again."""
    return evidence.game.success and all(evidence.again or ())


def reshuffled(evidence: Evidence) -> bool:
    """Success in the order played and in all re-shuffled orders."""
    return evidence.game.success and all(evidence.reshuffled or ())


FILTERS: Mapping[str, Callable[[Evidence], bool]] = {
    "complete": complete,
    "success": success,
    "likelihood": likelihood,
    "views": independent_views,
    "again": again,
    "reshuffled": reshuffled,
}


# What a filter cannot do without; the others need the game alone.
NEEDS = {
    "likelihood": "shared",
    "views": "views",
    "again": "again",
    "reshuffled": "reshuffled",
}


def verdicts(evidence: Evidence) -> dict[str, bool]:
    """The verdict of every filter whose evidence was gathered."""
    return {
        name: bool(passes(evidence))
        for name, passes in FILTERS.items()
        if name not in NEEDS or getattr(evidence, NEEDS[name]) is not None
    }


def truth_rates(
    passed: Sequence[bool], truths: Sequence[Sequence[bool | None]]
) -> dict[str, float | None]:
    """Share of true answers among kept and dropped games, percent.

    Args:
      passed: verdict per game.
      truths: per game, whether each answer is true (None: nobody knows).
    """

    def rate(wanted: bool):
        known = [
            t
            for ok, turns in zip(passed, truths, strict=True)
            if ok == wanted
            for t in turns
            if t is not None
        ]
        return 100.0 * sum(known) / len(known) if known else None

    return {"truth_kept": rate(True), "truth_dropped": rate(False)}


def stratified_lift(
    passed: Sequence[bool],
    truths: Sequence[Sequence[bool | None]],
    strata: Sequence[Sequence[str]],
) -> float | None:
    """Truth of kept minus dropped answers, points, within strata.

    Winning prefers informative answers, which are less often true: compare
    only answers of the same question kind *and* same answer. Strata are
    weighted by the harmonic size of their two sides (as a pooled difference
    of means is).

    Examples:
      One answer was kept, and is true; of two that were dropped one is:

      >>> strata = [["color/red"], ["color/red", "color/red"]]
      >>> lift = stratified_lift([True, False], [[True], [True, False]], strata)
      >>> round(lift)
      50
    """
    table: dict[str, list[list[int]]] = {}
    for ok, turns, names in zip(passed, truths, strata, strict=True):
        for true, name in zip(turns, names, strict=True):
            if true is not None:
                side = table.setdefault(name, [[0, 0], [0, 0]])[int(ok)]
                side[0] += int(true)
                side[1] += 1
    total = weight = 0.0
    for (dropped, n_dropped), (kept, n_kept) in table.values():
        if n_dropped and n_kept:
            w = n_dropped * n_kept / (n_dropped + n_kept)
            total += w * (kept / n_kept - dropped / n_dropped)
            weight += w
    return 100.0 * total / weight if weight else None
