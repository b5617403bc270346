"""The recipe of arXiv 2502.02740 as far as it is published.

    python -m vlm_games.main --config=configs/paper.py --workdir=/tmp/paper

The Guesser's own guess decides, every turn of a won game is learned, and
nothing is augmented. What the paper leaves open is as in configs/scenes.py.
"""

import pathlib
import runpy

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """Returns the scenes config with the paper's filter and targets."""
    scenes = pathlib.Path(__file__).with_name("scenes.py")
    c = runpy.run_path(str(scenes))["get_config"]()
    c.game.asks_all = 0.0
    c.game.filter = "success"
    c.game.judges = 0  # nobody judges but the Guesser
    c.game.credit = float("-inf")  # every turn of a won game
    c.game.sure = 0.0
    c.game.openly = False
    c.train.base_share = 0.0
    c.train.replay_answers = "own"
    c.game.balance = False
    c.train.augment = 0.0
    return c
