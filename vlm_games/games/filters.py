"""Which games to learn from: each filter is a verdict on one game.

What a filter sees is `Evidence`; how it is gathered is the method's affair.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from vlm_games.games.protocol import PlayedGame

UNKNOWN = -1  # of an answer, whether it is true; see `known`


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
    passed_A: np.ndarray, true_A: np.ndarray
) -> dict[str, float | None]:
    """Share of true answers among kept and dropped ones, percent.

    Args:
      passed_A: bool, whether the answer, or its game, is kept.
      true_A: int8, see `known`.
    """

    def rate(wanted: bool):
        judged = true_A[(passed_A == wanted) & (true_A != UNKNOWN)]
        return 100.0 * int(judged.sum()) / len(judged) if len(judged) else None

    return {"truth_kept": rate(True), "truth_dropped": rate(False)}


def known(truths: Iterable[bool | None]) -> np.ndarray:
    """int8 [A]: 1 for what is true, 0 for what is not, UNKNOWN for None."""
    found = [UNKNOWN if true is None else int(true) for true in truths]
    return np.array(found, np.int8)


def numbered(names: Iterable[str]) -> np.ndarray:
    """int64 [A]: equal for equal names, in order of their first use."""
    numbers: dict[str, int] = {}
    found = [numbers.setdefault(name, len(numbers)) for name in names]
    return np.array(found, np.int64)


def stratified_lift(
    passed_A: np.ndarray, true_A: np.ndarray, strata_A: np.ndarray
) -> float | None:
    """Truth of kept minus dropped answers, points, within strata.

    Winning prefers informative answers, which are less often true: compare
    only answers of the same question kind *and* same answer. Strata are
    weighted by the harmonic size of their two sides (as a pooled difference
    of means is).

    Args:
      passed_A: bool, whether the answer, or its game, is kept.
      true_A: int8, see `known`.
      strata_A: int, see `numbered`.

    Examples:
      One answer was kept, and is true; of two that were dropped one is:

      >>> passed, true = np.array([True, False, False]), np.array([1, 1, 0])
      >>> round(stratified_lift(passed, true, np.array([7, 7, 7])))
      50
    """
    judged = true_A != UNKNOWN
    sides, right = passed_A[judged].astype(int), true_A[judged] == 1
    _, first, place = np.unique(
        strata_A[judged], return_index=True, return_inverse=True
    )
    shape = (len(first), 2)
    counts_Sx2, right_Sx2 = (
        np.bincount(2 * some[0] + some[1], minlength=2 * len(first))
        .reshape(shape)
        .tolist()
        for some in ((place, sides), (place[right], sides[right]))
    )
    total = weight = 0.0
    for stratum in np.argsort(first).tolist():  # sums are rounded in order
        n_dropped, n_kept = counts_Sx2[stratum]
        dropped, kept = right_Sx2[stratum]
        if n_dropped and n_kept:
            w = n_dropped * n_kept / (n_dropped + n_kept)
            total += w * (kept / n_kept - dropped / n_dropped)
            weight += w
    return 100.0 * total / weight if weight else None
