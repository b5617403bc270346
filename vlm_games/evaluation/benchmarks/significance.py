"""How sure a mean of item scores is, and a difference of two.

Scores of most benchmarks take few values, so draws are made of how often each
value comes up, not item by item: the same distribution, in no time.
"""

from collections.abc import Hashable, Mapping

import numpy as np

DRAWS = 10_000
SEED = 0


def bootstrap(values: Mapping[Hashable, float]) -> tuple[float, float]:
    """The 95% percentile interval of the mean, percent, rounded to 0.01.

    Items are drawn as if they were independent of one another.
    """
    rng = np.random.default_rng(SEED)
    found, counts = np.unique(list(values.values()), return_counts=True)
    drawn = rng.multinomial(counts.sum(), counts / counts.sum(), DRAWS)
    means = 100 * (drawn @ found) / counts.sum()
    low, high = np.percentile(means, (2.5, 97.5))
    return round(float(low), 2), round(float(high), 2)


def compare(
    ours: Mapping[Hashable, float], theirs: Mapping[Hashable, float]
) -> dict:
    """A paired test of two models' scores on the same items.

    Returns:
      difference: of the means, percent points, rounded to 0.01; interval: its
      95% bootstrap interval; p_value: two-sided, of a permutation test that
      swaps the two models item by item; better, worse: items.

    Raises:
      ValueError: the items are not the same.
    """
    if ours.keys() != theirs.keys():
        raise ValueError(
            "The two predictions were not scored on the same items; "
            f"{len(ours.keys() ^ theirs.keys())} are in one of them only."
        )
    gained = {key: value - theirs[key] for key, value in ours.items()}
    gains = np.array(list(gained.values()))
    return {
        "difference": round(100 * float(gains.mean()), 2),
        "interval": bootstrap(gained),
        "p_value": _permutation(gains),
        "better": int((gains > 0).sum()),
        "worse": int((gains < 0).sum()),
    }


def _permutation(gains: np.ndarray) -> float:
    """How often signs by chance give a sum as far from 0."""
    rng = np.random.default_rng(SEED)
    sizes, counts = np.unique(np.abs(gains[gains != 0]), return_counts=True)
    kept = rng.binomial(counts, 0.5, (DRAWS, len(counts)))
    sums = (2 * kept - counts) @ sizes
    # Sums of the same numbers in another order differ in their last digits.
    as_far = np.abs(sums) >= abs(gains.sum()) * (1 - 1e-9)
    return round(float((1 + as_far.sum()) / (1 + DRAWS)), 4)
