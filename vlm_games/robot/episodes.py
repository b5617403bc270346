"""Which episodes a recording has, and what each is drawn from."""

import dataclasses

import numpy as np

from vlm_games.robot import looks, plans
from vlm_games.robot.tasks import TASKS


@dataclasses.dataclass(frozen=True)
class Part:
    """Episodes that are used for the same.

    Attributes:
      domain: "source" has one look; of "target" every episode has its own.
      share: episodes of it to one of `Settings.episodes`.
    """

    domain: str
    share: int


PARTS = {
    "source-train": Part("source", 1),
    "source-test": Part("source", 1),
    "target-play": Part("target", 2),
    "target-test": Part("target", 2),
    "target-validation": Part("target", 1),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a recording depends on.

    Attributes:
      seed: of everything. episodes: of each task in a part of share 1; even,
        as half of them succeed. frames: kept of an episode, at equal
        distances, the last step the last. size: of their sides in pixels.
    """

    seed: int = 0
    episodes: int = 20
    frames: int = 3
    size: int = 128

    def __post_init__(self):
        if self.episodes % 2:
            raise ValueError(
                f"episodes is {self.episodes}; give an even number: half of "
                "them succeed and half fail."
            )


@dataclasses.dataclass(frozen=True)
class Episode:
    """One episode to record.

    Attributes:
      task: name of it. part: name of its part. number: in both of these.
      success: how it is to end.
    """

    task: str
    part: str
    number: int
    success: bool

    @property
    def name(self) -> str:
        return f"{self.task}/{self.part}/{self.number:04d}"

    def rng(self, seed: int, *more: int) -> np.random.Generator:
        """Draws that no other episode has."""
        task, part = list(TASKS).index(self.task), list(PARTS).index(self.part)
        return np.random.default_rng((seed, task, part, self.number, *more))

    def look(self, seed: int) -> looks.Look:
        if PARTS[self.part].domain == "source":
            return looks.SOURCE
        return looks.draw_look(self.rng(seed))


def list_episodes(settings: Settings) -> list[Episode]:
    """All episodes; every other one is to succeed."""
    return [
        Episode(task, part, number, number % 2 == 0)
        for part, kind in PARTS.items()
        for task in TASKS
        for number in range(settings.episodes * kind.share)
    ]


def frame_steps(settings: Settings) -> list[int]:
    """Steps of an episode that are kept, the last one included."""
    steps = np.linspace(0, plans.LAST_STEP, settings.frames + 1)
    return steps[1:].round().astype(int).tolist()
