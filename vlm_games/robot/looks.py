"""How an episode is lit and seen: what the two domains differ by.

A look changes pictures alone. What the robot does under it is the same.
"""

import dataclasses

import numpy as np

SHAPES = ("box", "sphere", "cylinder")
# Where the table is in view and no hand comes; m.
SPARE_X = (-0.26, 0.26)
SPARE_Y = ((0.30, 0.36), (0.68, 0.78))


@dataclasses.dataclass(frozen=True)
class Thing:
    """Something that lies on the table and has no part in the task.

    Attributes:
      shape: one of SHAPES. size: half its width; m.
      x, y: its place; m. color: red, green, blue in [0, 1].
    """

    shape: str
    size: float
    x: float
    y: float
    color: tuple[float, float, float]


@dataclasses.dataclass(frozen=True)
class Look:
    """Light, camera and distractors.

    Attributes:
      ambient: light from everywhere, in [0, 1].
      lamps: brightness of gym-aloha's three lamps, in [0, 1].
      lamp_turn: degrees by which they are turned about the vertical.
      tint: of all lamps; red, green, blue in [0, 1].
      center: what the camera looks at; m. distance: from there; m.
      turn: degrees about the vertical. tilt: degrees from straight down.
      things: distractors.
    """

    ambient: float = 0.4
    lamps: tuple[float, float, float] = (0.3, 0.3, 0.3)
    lamp_turn: float = 0.0
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    center: tuple[float, float, float] = (0.0, 0.53, 0.0)
    distance: float = 0.85
    turn: float = 0.0
    tilt: float = 0.0
    things: tuple[Thing, ...] = ()


SOURCE = Look()  # gym-aloha's light, seen from above


def draw_look(rng: np.random.Generator) -> Look:
    """A look of the target domain: other light, camera and distractors."""
    x, y, z = SOURCE.center
    dx, dy = rng.uniform(-0.04, 0.04, 2)
    return Look(
        ambient=float(rng.uniform(0.1, 0.7)),
        lamps=_floats(rng.uniform(0.0, 0.7, 3)),
        lamp_turn=float(rng.uniform(-180, 180)),
        tint=_floats(rng.uniform(0.6, 1.0, 3)),
        center=(x + float(dx), y + float(dy), z),
        distance=float(rng.uniform(0.8, 1.0)),
        turn=float(rng.uniform(-25, 25)),
        tilt=float(rng.uniform(0, 25)),
        things=tuple(_draw_thing(rng) for _ in range(rng.integers(1, 5))),
    )


def _draw_thing(rng: np.random.Generator) -> Thing:
    return Thing(
        shape=str(rng.choice(SHAPES)),
        size=float(rng.uniform(0.015, 0.035)),
        x=float(rng.uniform(*SPARE_X)),
        y=float(rng.uniform(*SPARE_Y[rng.integers(len(SPARE_Y))])),
        color=_floats(rng.uniform(0.0, 1.0, 3)),
    )


def _floats(values: np.ndarray) -> tuple[float, float, float]:
    a, b, c = map(float, values)
    return a, b, c
