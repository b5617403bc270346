"""What may go wrong with a script, so that it nearly succeeds.

The arms go on as if nothing had happened: at the end they stand about as they
do after a success, and only what they moved is elsewhere.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from vlm_games.robot.plans import LAST_STEP, SIDES, Arms, Waypoint
from vlm_games.robot.tasks import Task

GRASP = (80, 150)  # steps from above an object to fingers about it
AGAIN = 20  # steps after which a hand that let go is closed again


def spoil(arms: Arms, task: Task, flaw: str, rng: np.random.Generator) -> Arms:
    """The script with a flaw of a size that is drawn.

    Args:
      flaw: one of `FLAWS[task.name]`.
    """
    return FLAWS[task.name][flaw](arms, rng)


# How waypoints change ---------------------------------------------------------


def move(
    points: list[Waypoint], first: int, last: int, **by: float
) -> list[Waypoint]:
    """Shifts the waypoints of steps `first` to `last`."""
    return [w.shifted(**by) if first <= w.step <= last else w for w in points]


def let_go(points: list[Waypoint], step: int) -> list[Waypoint]:
    """Opens the hand at a step, on its way, and closes it `AGAIN` after."""
    here = [_between(points, s) for s in (step, step + 4, step + AGAIN)]
    here[1] = dataclasses.replace(here[1], grip=1.0)
    kept = [w for w in points if not step <= w.step <= step + AGAIN]
    return sorted(kept + here, key=lambda w: w.step)


def _between(points: list[Waypoint], step: int) -> Waypoint:
    table = np.array([dataclasses.astuple(w) for w in points], float)
    values = [np.interp(step, table[:, 0], c) for c in table.T[1:]]
    return Waypoint(step, *map(float, values))


def close_late(points: list[Waypoint]) -> list[Waypoint]:
    """Leaves the hand open until it has gone on from the object."""
    return [
        dataclasses.replace(w, grip=1.0) if w.step == GRASP[1] else w
        for w in points
    ]


# The flaws --------------------------------------------------------------------


def _off(rng: np.random.Generator, least: float, most: float) -> float:
    """A length on either side of 0."""
    return float(rng.uniform(least, most) * rng.choice((-1, 1)))


def _aim(side: str | None) -> Callable[[Arms, np.random.Generator], Arms]:
    def flaw(arms: Arms, rng: np.random.Generator) -> Arms:
        """A hand comes down beside its object."""
        hand = side or str(rng.choice(SIDES))
        points = move(arms[hand], *GRASP, y=_off(rng, 0.04, 0.06))
        return arms | {hand: points}

    return flaw


def _late(side: str | None) -> Callable[[Arms, np.random.Generator], Arms]:
    def flaw(arms: Arms, rng: np.random.Generator) -> Arms:
        """A hand closes when it has left its object."""
        hand = side or str(rng.choice(SIDES))
        return arms | {hand: close_late(arms[hand])}

    return flaw


def _loose(
    side: str | None, first: int, last: int
) -> Callable[[Arms, np.random.Generator], Arms]:
    def flaw(arms: Arms, rng: np.random.Generator) -> Arms:
        """A hand lets go of what it holds."""
        hand = side or str(rng.choice(SIDES))
        step = int(rng.integers(first, last))
        return arms | {hand: let_go(arms[hand], step)}

    return flaw


def _short_transfer(arms: Arms, rng: np.random.Generator) -> Arms:
    """The left hand closes before the cube."""
    by = -rng.uniform(0.05, 0.08)
    return arms | {"left": move(arms["left"], 260, 325, x=by)}


def _keep(arms: Arms, rng: np.random.Generator) -> Arms:
    """The left hand closes before the cube, and the right one keeps it."""
    right = [
        dataclasses.replace(w, grip=0.0) if w.step > GRASP[1] else w
        for w in arms["right"]
    ]
    return _short_transfer(arms, rng) | {"right": right}


def _short_insertion(arms: Arms, rng: np.random.Generator) -> Arms:
    """The peg is held before the socket."""
    by = rng.uniform(0.025, 0.045)
    return {
        "left": move(arms["left"], 330, LAST_STEP, x=-by),
        "right": move(arms["right"], 330, LAST_STEP, x=by),
    }


def _beside(arms: Arms, rng: np.random.Generator) -> Arms:
    """The peg goes past the socket."""
    by = _off(rng, 0.035, 0.05)
    return arms | {"right": move(arms["right"], 230, LAST_STEP, y=by)}


FLAWS = {
    "transfer_cube": {
        "aim": _aim("right"),
        "late": _late("right"),
        "loose": _loose("right", 170, 250),
        "short": _short_transfer,
        "keep": _keep,
    },
    "insertion": {
        "aim": _aim(None),
        "late": _late(None),
        "loose": _loose(None, 170, 320),
        "short": _short_insertion,
        "beside": _beside,
    },
}
