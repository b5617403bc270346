"""LLaVA-1.5 7B: 576 tokens an image, 4 images a game.

    python -m vlm_games.main --config=configs/llava.py --workdir=/tmp/run

MEMORY
"""

import pathlib
import runpy

import ml_collections

# Fields that make it fit; rows are per device, slots and images of them all.
FITS = {
    "gpu-80gb": {
        "play.slots": 4,
        "encode_images": 64,
        "score_rows": 32,
        "train.rows.describer": 8,
        "train.rows.guesser": 2,
    },
    "v5p-32": {
        "play.slots": 80,
        "encode_images": 1024,
        "score_rows": 32,
        "train.rows.describer": 8,
        "train.rows.guesser": 2,
    },
}


def get_config(hardware: str = "gpu-80gb") -> ml_collections.ConfigDict:
    """Returns the config for hardware of this name; see configs/public.py."""
    public = pathlib.Path(__file__).with_name("public.py")
    c = runpy.run_path(str(public))["build"](FITS, hardware)
    c.base = "llava-hf/llava-1.5-7b-hf"
    c.shape = "models/llava-1.5-7b.json"
    c.train.lengths.describer = 1152
    c.train.lengths.guesser = 3456
    return c
