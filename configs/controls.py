"""The default recipe with the controls of all its rounds.

python benchmarks/seeds.py --config=configs/controls.py --workdir=/tmp/controls
"""

import pathlib
import runpy

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """Returns the scenes config with two controls."""
    scenes = pathlib.Path(__file__).with_name("scenes.py")
    c = runpy.run_path(str(scenes))["get_config"]()
    c.controls = ("unfiltered", "replay_only")
    return c
