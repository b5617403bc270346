"""The third shipped base: the first one, trained on with frames of a robot.

    python -m vlm_games.record_aloha --output=/tmp/aloha --episodes=100 \
        --frames=6 --size=64
    python -m vlm_games.pretraining.train --config=configs/base_robot.py \
        --output=/tmp/robot_base
"""

import pathlib
import runpy

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """Returns the base's config with what is otherwise."""
    base = pathlib.Path(__file__).with_name("base.py")
    c = runpy.run_path(str(base))["get_config"]()
    c.start = "scenes_base"
    c.dtype = "int8"  # all bases together are to stay under 10 MB
    c.frames = "/tmp/aloha/source-train.jsonl"
    c.model.image_size = 64  # at 32 the cube would be two pixels wide
    c.model.patch_size = 8
    c.scenes = 6_000
    c.see_steps = 200
    c.play_steps = 500
    c.answer_rows = 16
    c.probe_rows = 6
    c.game_rows = 4
    c.frame_rows = 32
    c.frame_probe_rows = 8
    c.frame_game_rows = 5
    c.learning_rate = 1e-3
    c.warmup = 30
    return c
