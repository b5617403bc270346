"""Training on text alone on the shipped world: situations in words, written
and checked by the model itself without an image. See docs/methods/text.md.

python -m vlm_games.main --config=configs/text.py --workdir=/tmp/text
"""

import pathlib
import runpy

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """Returns the scenes config with this method and its broken control."""
    scenes = pathlib.Path(__file__).with_name("scenes.py")
    c = runpy.run_path(str(scenes))["get_config"]()
    c.method = "text"
    c.train.base_share = 0.0  # chosen for games; not tried here
    c.base = "scenes_tasks"  # the default base cannot write a situation
    c.iterations = 2
    c.controls = ("permuted",)  # also unchecked, replay_only
    c.eval.choices = True
    return c
