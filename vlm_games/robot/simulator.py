"""gym-aloha's physics, rewards and pictures; the only module that needs them.

Physics and pictures are apart: an episode is simulated without rendering, and
only the steps that are kept are rendered, under any look.
"""

import dataclasses
import functools

import mujoco
import numpy as np
from dm_control.mujoco import Physics, wrapper
from gym_aloha.constants import ASSETS_DIR
from gym_aloha.tasks import sim_end_effector
from PIL import Image

from vlm_games.robot.facts import Facts
from vlm_games.robot.looks import Look, Thing
from vlm_games.robot.plans import REST_X, REST_Y, REST_Z, SIDES
from vlm_games.robot.tasks import STEPS_PER_SECOND, Task

_REWARDS = {
    "transfer_cube": sim_end_effector.TransferCubeEndEffectorTask,
    "insertion": sim_end_effector.InsertionEndEffectorTask,
}
SUCCESS = 4  # gym-aloha's reward of it, for both tasks
HELD = 25  # last steps in which it must stand: half a second
MOMENT = 5  # steps that tell what is touched: contacts flicker
# gym-aloha's own value of 0.25 leaves a gripper centimetres behind its target.
STIFFNESS = (0.95, 0.99, 0.001)
FIELD_OF_VIEW = 48.0  # degrees; at 78, as in gym-aloha, the cube is a dot
FINER = 2  # pictures are rendered so much larger, and then reduced


@dataclasses.dataclass(frozen=True)
class Rollout:
    """An episode that was simulated.

    Attributes:
      positions: float64 [steps, coordinates] of all joints.
      rewards: int [steps], 0 to 4, as gym-aloha gives them.
    """

    positions: np.ndarray
    rewards: np.ndarray

    @property
    def success(self) -> bool:
        """Whether success stands at the end; what fell again is none."""
        return bool((self.rewards[-HELD:] == SUCCESS).any())


def roll_out(task: Task, places: np.ndarray, actions: np.ndarray) -> Rollout:
    """Simulates an episode.

    Args:
      places: float [objects, 3], first places; m.
      actions: float [steps, 16], of `plans.actions`.
    """
    physics, rules = _physics(task.model), _REWARDS[task.name]()
    with physics.reset_context():
        rules.initialize_robots(physics)
        physics.data.mocap_pos[:] = [
            (x, REST_Y, REST_Z) for x in (-REST_X, REST_X)
        ]
        for name, place in zip(task.objects, places, strict=True):
            joint = physics.named.data.qpos[f"{name}_joint"]
            joint[:] = [*place, 1, 0, 0, 0]
    substeps = round(1 / STEPS_PER_SECOND / physics.model.opt.timestep)
    positions, rewards = [], []
    for action in actions:
        rules.before_step(action, physics)
        physics.step(substeps)
        positions.append(physics.data.qpos.copy())
        rewards.append(rules.get_reward(physics))
    return Rollout(np.stack(positions), np.array(rewards))


def look_up(task: Task, positions: np.ndarray, step: int) -> Facts:
    """What is true at a step: in one of the last `MOMENT` steps, or of places
    at that step.

    Args:
      positions: float [steps, coordinates], of a rollout.
    """
    physics = _physics(task.model)
    touches = []
    for state in positions[max(step + 1 - MOMENT, 0) : step + 1]:
        physics.data.qpos[:] = state
        physics.forward()
        touches.append(_touches(physics))

    def held(thing: str) -> tuple[str, ...]:
        return tuple(
            side
            for side in SIDES
            if any(
                (thing, side) in t and (thing, "table") not in t
                for t in touches
            )
        )

    where = physics.named.data
    places = {
        word: where.xpos[body]
        for word, body in [
            *((word, word.replace("cube", "box")) for word in task.words),
            *((side, f"vx300s_{side}/left_finger_link") for side in SIDES),
        ]
    }
    return Facts(
        held={word: held(word) for word in task.words},
        lying=tuple(
            word
            for word in task.words
            if any((word, "table") in t for t in touches)
        ),
        inside=any(("peg", "pin") in t for t in touches),
        places={word: tuple(place.tolist()) for word, place in places.items()},
    )


# Geoms of gym-aloha -> what they are called here.
_PARTS = {
    "red_box": "cube",
    "red_peg": "peg",
    "socket-1": "socket",
    "socket-2": "socket",
    "socket-3": "socket",
    "socket-4": "socket",
    "pin": "pin",
    "table": "table",
    "vx300s_left/10_left_gripper_finger": "left",
    "vx300s_right/10_right_gripper_finger": "right",
}


def _touches(physics: Physics) -> set[tuple[str, str]]:
    """Pairs of parts in contact, in either order."""
    found = set()
    for contact in physics.data.contact:
        one, other = (
            _PARTS.get(physics.model.id2name(geom, "geom"))
            for geom in (contact.geom1, contact.geom2)
        )
        if one is not None and other is not None:
            found |= {(one, other), (other, one)}
    return found


@functools.cache
def _physics(name: str) -> Physics:
    model = mujoco.MjModel.from_xml_path(str(ASSETS_DIR / name))
    model.eq_solimp[:, :3] = STIFFNESS
    return Physics.from_model(wrapper.MjModel(model))


def paint(
    task: Task, positions: np.ndarray, look: Look, size: int
) -> np.ndarray:
    """Pictures of states.

    Args:
      positions: float [frames, coordinates], of a rollout.
      size: side of the squares in pixels.

    Returns:
      uint8 [frames, size, size, 3].
    """
    model = _scene(task, look, size * FINER)
    data = mujoco.MjData(model)
    camera, option = mujoco.MjvCamera(), mujoco.MjvOption()
    camera.lookat[:] = look.center
    camera.distance = look.distance
    camera.azimuth, camera.elevation = 90 + look.turn, look.tilt - 90
    option.sitegroup[:] = 0  # crosses where the grippers are to go
    found = []
    with mujoco.Renderer(model, size * FINER, size * FINER) as renderer:
        for state in positions:
            data.qpos[:] = state
            mujoco.mj_forward(model, data)
            renderer.update_scene(data, camera, option)
            large = Image.fromarray(renderer.render())
            found.append(np.asarray(large.reduce(FINER)))
    return np.stack(found)


def _scene(task: Task, look: Look, side: int) -> mujoco.MjModel:
    """The task's model under a look, for pictures of at most `side` pixels."""
    spec = mujoco.MjSpec.from_file(str(ASSETS_DIR / task.model))
    for thing in look.things:
        _put(spec, thing)
    model = spec.compile()
    model.vis.global_.fovy = FIELD_OF_VIEW
    model.vis.global_.offwidth = model.vis.global_.offheight = side
    model.vis.quality.shadowsize = 1024  # enough for pictures of this size
    model.vis.headlight.ambient[:] = look.ambient * np.array(look.tint)
    angle = np.radians(look.lamp_turn)
    turn = np.array(
        [
            [np.cos(angle), -np.sin(angle), 0],
            [np.sin(angle), np.cos(angle), 0],
            [0, 0, 1],
        ]
    )
    model.light_dir[:] = model.light_dir @ turn.T
    model.light_diffuse[:] = np.outer(look.lamps, look.tint)
    return model


def _put(spec: mujoco.MjSpec, thing: Thing) -> None:
    """Lays a thing on the table; nothing can touch it."""
    shape = getattr(mujoco.mjtGeom, f"mjGEOM_{thing.shape.upper()}")
    spec.worldbody.add_geom(
        type=shape,
        size=[thing.size] * 3,
        pos=[thing.x, thing.y, thing.size],
        rgba=[*thing.color, 1],
        contype=0,
        conaffinity=0,
    )
