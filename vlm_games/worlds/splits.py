"""Named splits of the two domains, each image made from its own seed."""

import dataclasses

import numpy as np

from vlm_games.worlds.render import render
from vlm_games.worlds.scenes import SOURCE, TARGET, Domain, Scene, sample_scene


@dataclasses.dataclass(frozen=True)
class Split:
    """A named part of a domain.

    Attributes:
      domain: what its scenes hold and how they look.
      seed: the split's own integer; scene i is made from (seed, i).
      count: its number of scenes.
    """

    domain: Domain
    seed: int
    count: int


SPLITS = {
    "source/train": Split(SOURCE, 1, 60_000),
    "source/replay": Split(SOURCE, 2, 4_000),
    "source/validation": Split(SOURCE, 3, 1_000),
    "source/test": Split(SOURCE, 8, 1_000),
    "target/play": Split(TARGET, 5, 4_000),
    "target/validation": Split(TARGET, 6, 1_000),
    "target/test": Split(TARGET, 9, 1_000),
}


def load_split(
    name: str, count: int | None = None, start: int = 0, size: int = 32
) -> tuple[list[Scene], np.ndarray]:
    """Makes scenes start to start + count of a split.

    Args:
      name: one of SPLITS.
      count: how many; all that follow start if None.
      start: the index of the first.
      size: height and width of the images in pixels.

    Returns:
      The scenes and their images, uint8 [count, size, size, 3].

    Raises:
      KeyError: if there is no such split.
      ValueError: if the split has fewer scenes than asked for.
    """
    if name not in SPLITS:
        raise KeyError(f"no split {name!r}; take one of {', '.join(SPLITS)}")
    split = SPLITS[name]
    stop = split.count if count is None else start + count
    if not 0 <= start <= stop <= split.count:
        raise ValueError(
            f"{name} has scenes 0 to {split.count - 1}; asked for"
            f" {start} to {stop - 1}"
        )
    indices = range(start, stop)
    scenes = [
        sample_scene(np.random.default_rng((split.seed, i)), split.domain)
        for i in indices
    ]
    # The trailing 1 keeps the picture's draws apart from the scene's.
    seeds = [(split.seed, i, 1) for i in indices]
    return scenes, render(scenes, split.domain.style, seeds, size)
