"""STIC on the shipped world: own good and bad descriptions, then own words
before the questions of labelled items. See docs/methods/stic.md.

python -m vlm_games.main --config=configs/stic.py --workdir=/tmp/stic
"""

import pathlib
import runpy

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """Returns the scenes config with this method and its broken control."""
    scenes = pathlib.Path(__file__).with_name("scenes.py")
    c = runpy.run_path(str(scenes))["get_config"]()
    c.method = "stic"
    c.train.base_share = 0.0  # chosen for games; not tried here
    c.base = "scenes_tasks"
    c.iterations = 2
    c.controls = ("swapped",)  # also positive, uncorrupted, replay_only
    c.eval.described = True
    return c
