"""Triangular Consistency on the shipped world.

    python -m vlm_games.main --config=configs/triangle.py --workdir=/tmp/run

Its base has seen every task of the four methods; see docs/base.md.
"""

import pathlib
import runpy

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """Returns the scenes config with this method and its controls."""
    scenes = pathlib.Path(__file__).with_name("scenes.py")
    c = runpy.run_path(str(scenes))["get_config"]()
    c.method = "triangle"
    c.train.base_share = 0.0  # chosen for games; not tried here
    c.base = "scenes_tasks"
    c.controls = ("seeds_only", "bottom")  # see methods.triangle_choose
    return c
