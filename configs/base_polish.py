"""The shipped base's second stage: the first one goes on, under light changes.

    python -m vlm_games.pretraining.train --config=configs/base_polish.py \
        --config.start=/tmp/base --output=/tmp/base_polished

Every row now has a description, as web images have, and the images vary a
little in light, colour and sharpness. Without this stage the base's words
fall apart on the target domain.
"""

import pathlib
import runpy

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """Returns the base config with the second stage's changes."""
    base = pathlib.Path(__file__).with_name("base.py")
    c = runpy.run_path(str(base))["get_config"]()
    c.seed = 1
    c.augment = 0.6
    c.recipe.questions = 3
    c.recipe.describe = 1.0
    c.answer_length = 104
    c.see_steps = 0
    c.play_steps = 450
    c.probe_rows = 8
    c.learning_rate = 1e-3
    c.warmup = 20
    return c
