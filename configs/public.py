"""What the configs of public checkpoints share; each of them says the rest.

Their `get_config` takes the hardware by its name: `--config=configs/llava.py`
is for the first of their table, `--config=configs/llava.py:v5p-32` for that.

    gpu-80gb   one GPU of 80 GB
    v5e-8      8 devices, 16 GB each
    v5p-32     16 devices (of two cores), 95 GB each
"""

import pathlib
import runpy

import ml_collections


def build(fits: dict[str, dict], hardware: str) -> ml_collections.ConfigDict:
    """Returns the scenes config for a public checkpoint, with LoRA.

    Args:
      fits: per hardware, the fields that make it fit. hardware: one of them.

    Raises:
      ValueError: the model does not fit that hardware.
    """
    if hardware not in fits:
        raise ValueError(
            f"No settings are known to fit {hardware!r}; known are "
            f"{', '.join(fits)}."
        )
    scenes = pathlib.Path(__file__).with_name("scenes.py")
    c = runpy.run_path(str(scenes))["get_config"]()
    c.dtype = "bfloat16"
    c.play_images = 400  # each takes its image tokens in memory, twice
    c.play.guesser_tokens = 96  # a line of summary and one of question
    c.play.answer_tokens = 12  # "in one or two words"
    c.game.asks_all = 0.0  # a guess word of several tokens is not forbidden
    c.train.learning_rate = 1e-4
    c.train.base_share = 0.0  # LoRA changes little, and its adapters are kept
    c.train.remat = True
    c.train.lora.rank = 16
    c.train.rows.replay_answer = 0  # what the base knows stays in its params
    c.train.rows.replay_game = 0
    c.eval.target_images = 100
    c.eval.source_images = 50
    c.eval.games = 128
    c.eval.guard_games = 64
    c.update_from_flattened_dict(fits[hardware])
    return c
