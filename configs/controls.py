"""The default recipe with its controls, for benchmarks/seeds.py.

python -m vlm_games.main --config=configs/controls.py \\
        --workdir=/tmp/controls
"""

import pathlib
import runpy

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """Returns the scenes config with three controls."""
    scenes = pathlib.Path(__file__).with_name("scenes.py")
    c = runpy.run_path(str(scenes))["get_config"]()
    c.controls = ("unfiltered", "replay_only", "shuffled")
    return c
