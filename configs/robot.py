"""Games on unlabelled frames of a robot: did it succeed?

    python -m vlm_games.record_aloha --output=/tmp/aloha --episodes=100 \
        --frames=6 --size=64
    python -m vlm_games.main --config=configs/robot.py --workdir=/tmp/robot

A recording elsewhere: --config=configs/robot.py:/data/aloha
"""

import pathlib
import runpy

import ml_collections


def get_config(recording: str = "/tmp/aloha") -> ml_collections.ConfigDict:
    """Returns the scenes config with what is otherwise.

    Args:
      recording: folder that vlm_games.record_aloha wrote.
    """
    scenes = pathlib.Path(__file__).with_name("scenes.py")
    c = runpy.run_path(str(scenes))["get_config"]()
    folder = recording or "/tmp/aloha"
    c.base = "robot_base"
    c.images = f"{folder}/target-play.jsonl"
    c.train.replay_frames = f"{folder}/source-train.jsonl"
    c.train.replay_images = 400
    c.eval.robot = f"{folder}/target-test.jsonl"
    c.eval.robot_source = f"{folder}/source-test.jsonl"
    c.controls = ("unfiltered", "shuffled", "replay_only")
    c.game.sets = "task"
    # Of the scenes only what shows whether they are forgotten.
    c.eval.target_images = 100
    c.eval.source_images = 100
    c.eval.games = 128
    c.eval.guard_games = 64
    return c
