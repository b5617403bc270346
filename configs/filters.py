"""One round of the default recipe beside every filter by itself.

python benchmarks/seeds.py --config=configs/filters.py --workdir=/tmp/filters

All arms learn from the games that the base played, and from equally many of
them; "shuffled" shows what wrong answers do.
"""

import pathlib
import runpy

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """Returns the scenes config with one round and an arm per filter."""
    scenes = pathlib.Path(__file__).with_name("scenes.py")
    c = runpy.run_path(str(scenes))["get_config"]()
    c.iterations = 1
    c.controls = (
        "unfiltered",
        "success",
        "likelihood",
        "views",
        "shuffled",
    )
    return c
