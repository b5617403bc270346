"""Qwen2.5-VL 7B: 144 tokens an image, 4 images a game.

    python -m vlm_games.main --config=configs/qwen2_5_vl.py --workdir=/tmp/run

MEMORY
"""

import pathlib
import runpy

import ml_collections

# Fields that make it fit; rows are per device, slots and images of them all.
FITS = {
    "gpu-80gb": {
        "play.slots": 32,
        "encode_images": 128,
        "score_rows": 32,
        "train.rows.describer": 8,
        "train.rows.guesser": 4,
    },
    "v5p-32": {
        "play.slots": 512,
        "encode_images": 1024,
        "score_rows": 32,
        "train.rows.describer": 8,
        "train.rows.guesser": 4,
    },
}


def get_config(hardware: str = "gpu-80gb") -> ml_collections.ConfigDict:
    """Returns the config for hardware of this name; see configs/public.py."""
    public = pathlib.Path(__file__).with_name("public.py")
    c = runpy.run_path(str(public))["build"](FITS, hardware)
    c.base = "Qwen/Qwen2.5-VL-7B-Instruct"
    c.shape = "models/qwen2.5-vl-7b.json"
    c.image_size = 336  # 12 x 12 image tokens of 28 pixels; any multiple of 28
    c.train.lengths.describer = 704
    c.train.lengths.guesser = 1728
    return c
