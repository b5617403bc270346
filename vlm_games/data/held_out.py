"""Which images of a source are held out to measure on."""

import numpy as np

FIFTH = 5


def split(units: np.ndarray, least: int) -> tuple[np.ndarray, np.ndarray]:
    """Every fifth unit is held out, from the first on.

    Where there are fewer than five units, or a side would come to fewer than
    `least` images, it is every fifth image; of few images one in fewer, so
    that a game's worth is held out.

    Args:
      units: int [n], equal where images stay together; n >= 2 * least.
      least: images that either side has at least.

    Returns:
      (int [m] to play on, int [n - m] held out), each in order.
    """
    names, number = np.unique(units, return_inverse=True)
    held = number % FIFTH == 0
    few = min(held.sum(), len(units) - held.sum()) < least
    if few or not FIFTH <= len(names) < len(units):
        held = np.arange(len(units)) % min(FIFTH, len(units) // least) == 0
    return np.flatnonzero(~held), np.flatnonzero(held)
