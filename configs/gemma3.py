"""Gemma 3 4B: 256 tokens an image, 4 images a game.

    python -m vlm_games.main --config=configs/gemma3.py --workdir=/tmp/run

MEMORY
"""

import pathlib
import runpy

import ml_collections

# Fields that make it fit; rows are per device, slots and images of them all.
FITS = {
    "gpu-80gb": {
        "play.slots": 32,
        "encode_images": 8,
        "score_rows": 16,
        "train.rows.describer": 8,
        "train.rows.guesser": 2,
    },
    "v5p-32": {
        "play.slots": 512,
        "encode_images": 128,
        "score_rows": 16,
        "train.rows.describer": 8,
        "train.rows.guesser": 2,
    },
}


def get_config(hardware: str = "gpu-80gb") -> ml_collections.ConfigDict:
    """Returns the config for hardware of this name; see configs/public.py."""
    public = pathlib.Path(__file__).with_name("public.py")
    c = runpy.run_path(str(public))["build"](FITS, hardware)
    c.base = "google/gemma-3-4b-it"
    c.shape = "models/gemma-3-4b.json"
    c.train.lengths.describer = 832
    c.train.lengths.guesser = 2240
    return c
