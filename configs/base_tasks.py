"""The second shipped base: the first one, trained on with other tasks.

    python -m vlm_games.pretraining.train --config=configs/base_tasks.py \
        --output=/tmp/scenes_tasks
"""

import pathlib
import runpy

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """Returns the base's config with what is otherwise."""
    base = pathlib.Path(__file__).with_name("base.py")
    c = runpy.run_path(str(base))["get_config"]()
    c.start = "scenes_base"
    c.dtype = "bfloat16"  # half the bytes
    # It sees as it did, and learns other ways to speak of it.
    c.frozen = ("vision", "connector")
    c.learning_rate = 1.5e-3
    c.text_steps = 700
    c.see_steps = 0
    c.play_steps = 600
    c.task_rows = 12
    c.told_rows = 16
    c.record_rows = 3
    c.warmup = 20
    return c
