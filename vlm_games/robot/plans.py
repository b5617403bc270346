"""Scripted movements of both grippers.

A script is a list of waypoints for each arm: the step by which a place, a
posture and an opening are reached. In between they change linearly. Nothing
here needs the simulator.
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from vlm_games.robot.tasks import Task

LAST_STEP = 400  # of an episode, counted from 0
DOWN = 60.0  # degrees by which a gripper looks down where it takes an object
REST_X, REST_Y, REST_Z = 0.1825, 0.5, 0.295  # m, of both, x of the right one
MEET = (0.0, 0.5, 0.25)  # about where the hands meet; m
MEET_RANGE = 0.03  # it is drawn from as much on either side; m
TREMOR = 0.001  # standard deviation of all waypoints but the first; m


@dataclasses.dataclass(frozen=True)
class Waypoint:
    """What a gripper is to have reached, and when.

    Attributes:
      step: of the episode. x, y, z: place between the finger tips; m.
      pitch: degrees by which it looks down. roll: degrees about its own axis.
      grip: 0 is closed, 1 is open.
    """

    step: int
    x: float
    y: float
    z: float
    pitch: float = 0.0
    roll: float = 0.0
    grip: float = 1.0

    def shifted(self, x: float = 0, y: float = 0, z: float = 0) -> "Waypoint":
        return dataclasses.replace(
            self, x=self.x + x, y=self.y + y, z=self.z + z
        )


SIDES = ("left", "right")
Arms = dict[str, list[Waypoint]]  # of both sides


def script(task: Task, places: np.ndarray, rng: np.random.Generator) -> Arms:
    """Waypoints of both arms that do the task.

    Args:
      places: of `draw_places`. rng: draws where the hands meet.
    """
    meet = np.add(MEET, rng.uniform(-MEET_RANGE, MEET_RANGE, 3))
    return _SCRIPTS[task.name](places, meet)


def actions(arms: Arms, rng: np.random.Generator) -> np.ndarray:
    """What both grippers are told at every step, with a little tremor.

    Returns:
      float64 [LAST_STEP + 1, 16]: place (m), quaternion (w first) and opening
      of the left gripper, then of the right one.
    """
    sides = [follow(_tremble(arms[side], rng), side) for side in SIDES]
    return np.concatenate(sides, axis=1)


def follow(waypoints: Sequence[Waypoint], side: str) -> np.ndarray:
    """What a gripper is told at every step.

    Returns:
      float64 [LAST_STEP + 1, 8]: place (m), quaternion (w first), opening.
    """
    table = np.array([dataclasses.astuple(w) for w in waypoints], float)
    steps = np.arange(LAST_STEP + 1)
    x, y, z, pitch, roll, grip = (
        np.interp(steps, table[:, 0], column) for column in table.T[1:]
    )
    # The right arm faces the other way.
    pitch = np.radians(pitch if side == "left" else -pitch) / 2
    roll = np.radians(roll) / 2
    # Of a turn about y, after one about x.
    quaternion = (
        np.cos(pitch) * np.cos(roll),
        np.cos(pitch) * np.sin(roll),
        np.sin(pitch) * np.cos(roll),
        -np.sin(pitch) * np.sin(roll),
    )
    return np.stack([x, y, z, *quaternion, grip], axis=1)


def _tremble(
    waypoints: Sequence[Waypoint], rng: np.random.Generator
) -> list[Waypoint]:
    first, *others = waypoints
    return [first] + [w.shifted(*rng.normal(0, TREMOR, 3)) for w in others]


# What should succeed ----------------------------------------------------------


def _take(side: str, x: float, y: float, z: float) -> list[Waypoint]:
    """From rest to an object that lies at x, y, and fingers closed about it."""
    home = REST_X if side == "right" else -REST_X
    over = functools.partial(Waypoint, x=x, y=y, pitch=DOWN)
    return [
        Waypoint(0, home, REST_Y, REST_Z, grip=0.0),
        over(80, z=z + 0.1),
        over(120, z=z),
        over(130, z=z),
        over(150, z=z, grip=0.0),
    ]


def _transfer(places: np.ndarray, meet: np.ndarray) -> Arms:
    """The right hand takes the cube, the left one takes it over."""
    ((cube_x, cube_y, _),) = places
    x, y, z = meet
    there = functools.partial(Waypoint, y=y, pitch=DOWN)
    right = [
        *_take("right", cube_x, cube_y, 0.035),
        there(220, x=x, z=z, grip=0.0),
        there(310, x=x, z=z, grip=0.0),
        there(325, x=x, z=z),
        there(370, x=x + 0.12, z=z + 0.05),
        there(LAST_STEP, x=x + 0.15, z=z + 0.05),
    ]
    # On its side, so that its fingers come from above and from below.
    hand = functools.partial(Waypoint, y=y, z=z - 0.02, roll=90.0)
    left = [
        Waypoint(0, -REST_X, REST_Y, REST_Z, grip=0.0),
        hand(120, x=x - 0.15),
        hand(220, x=x - 0.12),
        hand(260, x=x + 0.01),
        hand(270, x=x + 0.01),
        hand(290, x=x + 0.01, grip=0.0),
        hand(325, x=x + 0.01, grip=0.0),
        hand(370, x=x - 0.12, grip=0.0),
        hand(LAST_STEP, x=x - 0.12, grip=0.0),
    ]
    return {"left": left, "right": right}


def _insert(places: np.ndarray, meet: np.ndarray) -> Arms:
    """Both hands take what lies before them, and push the peg in."""
    x, y, z = meet
    z -= 0.1  # the arms reach farther there
    arms: Arms = {}
    # Where an object is held: z, and how far that is above its middle.
    for side, place, hold_z, above in (
        ("right", places[0], 0.025, 0.017),
        ("left", places[1], 0.03, 0.008),
    ):
        sign = 1 if side == "right" else -1
        held = functools.partial(
            Waypoint, y=y, z=z + above, pitch=DOWN, grip=0.0
        )
        arms[side] = [
            *_take(side, place[0], place[1], hold_z),
            held(230, x=x + sign * 0.11),
            held(260, x=x + sign * 0.11),
            held(330, x=x + sign * 0.05),
            # What is held slips when it meets the end, hence still farther.
            held(LAST_STEP, x=x + sign * 0.04),
        ]
    return arms


_SCRIPTS = {"transfer_cube": _transfer, "insertion": _insert}
