"""Which of the unlabelled images an iteration looks at."""

import numpy as np


def draw_images(
    total: int, count: int, seed: tuple[int, int], iteration: int
) -> tuple[int, ...]:
    """Numbers of the images of an iteration, from 1 on; `count` of `total`.

    Iterations go on where the one before ended: no image comes again, in this
    one or another, before all have come.

    Args:
      seed: the run's, and one for what they are drawn for.
    """
    start = (iteration - 1) * count
    found: list[int] = []
    while len(found) < count:
        round_, offset = divmod(start + len(found), total)
        order = np.random.default_rng((*seed, round_)).permutation(total)
        found += order[offset : offset + count - len(found)].tolist()
    return tuple(found)
