"""Scenes: one to three objects in distinct quadrants, and how often each."""

import dataclasses

import numpy as np

from vlm_games.worlds.style import CLEAN, WILD, Style

SHAPES = ("circle", "square", "triangle", "cross", "ring")
COLORS = ("red", "green", "blue", "yellow", "purple", "orange")
SIZES = ("small", "large")
# Row by row: place p lies in row p // 2 and column p % 2.
PLACES = ("top-left", "top-right", "bottom-left", "bottom-right")
COUNTS = ("one", "two", "three")

# Largest shift of an object from its quadrant's centre, in image widths. A
# large object still fits its quadrant (0.25 half-width) at this jitter.
MAX_JITTER = 0.04


@dataclasses.dataclass(frozen=True)
class SceneObject:
    """One object; dx and dy shift it right and down, in image widths."""

    shape: str
    color: str
    size: str
    place: str
    dx: float
    dy: float

    @property
    def row(self) -> int:
        """0 for the top row of quadrants, 1 for the bottom row."""
        return PLACES.index(self.place) // 2

    @property
    def column(self) -> int:
        """0 for the left column of quadrants, 1 for the right column."""
        return PLACES.index(self.place) % 2


@dataclasses.dataclass(frozen=True)
class Scene:
    """One to three objects, in the order of PLACES, no place used twice."""

    objects: tuple[SceneObject, ...]


@dataclasses.dataclass(frozen=True)
class Domain:
    """What a world holds and how it looks.

    Attributes:
      name: the domain's name.
      color_weights: probability of each of COLORS.
      shape_weights: probability of each of SHAPES.
      count_weights: probability of one, two and three objects.
      style: how its scenes are drawn.
    """

    name: str
    color_weights: tuple[float, ...]
    shape_weights: tuple[float, ...]
    count_weights: tuple[float, ...]
    style: Style


# The web: skewed frequencies, clean pictures.
SOURCE = Domain(
    name="source",
    color_weights=(0.30, 0.22, 0.16, 0.12, 0.11, 0.09),
    shape_weights=(0.30, 0.24, 0.20, 0.14, 0.12),
    count_weights=(0.25, 0.35, 0.40),
    style=CLEAN,
)

# Where the player is deployed: everything equally often, in bad pictures.
TARGET = Domain(
    name="target",
    color_weights=(1 / 6,) * 6,
    shape_weights=(1 / 5,) * 5,
    count_weights=(0.20, 0.35, 0.45),
    style=WILD,
)


def _pick(words, weights, u: float) -> str:
    """The word whose share of [0, sum of weights) holds u times the sum."""
    # Generator.choice(p=...) takes ten times as long for a handful of words.
    left = u * sum(weights)
    for word, weight in zip(words, weights, strict=True):
        left -= weight
        if left < 0:
            return word
    return words[-1]  # only rounding leads here


def sample_scene(rng: np.random.Generator, domain: Domain) -> Scene:
    """Draws a scene; sizes, places and jitter are uniform in every domain."""
    count = 1 + COUNTS.index(_pick(COUNTS, domain.count_weights, rng.random()))
    places = sorted(rng.permutation(len(PLACES))[:count].tolist())
    objects = []
    for place, u in zip(places, rng.random((count, 5)).tolist(), strict=True):
        objects.append(
            SceneObject(
                shape=_pick(SHAPES, domain.shape_weights, u[0]),
                color=_pick(COLORS, domain.color_weights, u[1]),
                size=_pick(SIZES, (0.5, 0.5), u[2]),
                place=PLACES[place],
                dx=MAX_JITTER * (2 * u[3] - 1),
                dy=MAX_JITTER * (2 * u[4] - 1),
            )
        )
    return Scene(tuple(objects))
