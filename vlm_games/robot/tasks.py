"""The tasks of gym-aloha: what lies on the table, and what is asked."""

import dataclasses

import numpy as np

STEPS_PER_SECOND = 50  # of control, as gym-aloha has it

Range = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Task:
    """A task of the robot.

    Attributes:
      name: as episodes and manifests call it.
      question: asked of an episode's last frame; "yes" is success.
      model: file of gym-aloha's assets, in which targets of the two grippers
        are followed.
      objects: what is moved, each with the range of its x; m. Its joint is
        called `<name>_joint`.
      words: what they are called in questions.
    """

    name: str
    question: str
    model: str
    objects: dict[str, Range]
    words: tuple[str, ...]


TASKS = {
    task.name: task
    for task in (
        Task(
            "transfer_cube",
            "does the left hand hold the cube ?",
            "bimanual_viperx_end_effector_transfer_cube.xml",
            {"red_box": (0.0, 0.2)},
            ("cube",),
        ),
        Task(
            "insertion",
            "is the peg in the socket ?",
            "bimanual_viperx_end_effector_insertion.xml",
            {"red_peg": (0.1, 0.2), "blue_socket": (-0.2, -0.1)},
            ("peg", "socket"),
        ),
    )
}
ACROSS = (0.4, 0.6)  # range of every object's y; m
DROPPED_FROM = 0.05  # its first z; m


def draw_places(task: Task, rng: np.random.Generator) -> np.ndarray:
    """First places of the objects as gym-aloha draws them.

    Returns:
      float64 [objects, 3], m; all lie parallel to the table's sides.
    """
    ranges = list(task.objects.values())
    return np.array(
        [(rng.uniform(*x), rng.uniform(*ACROSS), DROPPED_FROM) for x in ranges]
    )
