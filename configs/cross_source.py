"""Games on one source of images, measured on all of them.

    python -m vlm_games.cross_source --config=configs/cross_source.py \
        --workdir=/tmp/w --config.sources.photos=/data/photos

`sources` names them: a source is whatever `config.images` takes, "" the
rendered target domain; one that is None is left out.
"""

import pathlib
import runpy

import ml_collections
from ml_collections import config_dict


def get_config(entry: str = "") -> ml_collections.ConfigDict:
    """Returns what is compared, or the config of a run if `entry` is "run"."""
    if not entry:
        c = ml_collections.ConfigDict()
        c.seeds = 3
        c.jobs = 2  # runs side by side, each on its share of the cores
        c.sources = ml_collections.ConfigDict()
        c.sources.scenes = ""
        c.sources.photos = config_dict.placeholder(str)  # a folder, say
        c.sources.aloha = config_dict.placeholder(str)  # a manifest, say
        return c
    if entry != "run":
        raise ValueError(
            f"configs/cross_source.py has no entry {entry!r}; it has run."
        )
    scenes = pathlib.Path(__file__).with_name("scenes.py")
    c = runpy.run_path(str(scenes))["get_config"]()
    c.base = "robot_base"  # has seen frames of a robot beside scenes
    c.iterations = 2
    # As when its figures were taken; the default is otherwise since.
    c.game.sure = 0.0
    c.game.openly = False
    c.train.base_share = 0.0
    c.train.replay_answers = "own"
    c.train.replay_augmented = True
    c.controls = ("replay_only",)  # what is owed to no games
    # What none of the tables shows is hardly measured.
    c.eval.source_images = 50
    c.eval.guard_games = 0
    return c
