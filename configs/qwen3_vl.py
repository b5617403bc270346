"""Qwen3-VL 2B: 144 tokens an image, 4 images a game.

    python -m vlm_games.main --config=configs/qwen3_vl.py --workdir=/tmp/run

MEMORY
"""

import pathlib
import runpy

import ml_collections

# Fields that make it fit; rows are per device, slots and images of them all.
FITS = {
    "gpu-80gb": {
        "play.slots": 64,
        "encode_images": 128,
        "score_rows": 32,
        "train.rows.describer": 16,
        "train.rows.guesser": 8,
    },
    "v5e-8": {
        "play.slots": 16,
        "encode_images": 64,
        "score_rows": 4,
        "train.rows.describer": 2,
        "train.rows.guesser": 1,
    },
    "v5p-32": {
        "play.slots": 1024,
        "encode_images": 1024,
        "score_rows": 32,
        "train.rows.describer": 16,
        "train.rows.guesser": 8,
    },
}


def get_config(hardware: str = "gpu-80gb") -> ml_collections.ConfigDict:
    """Returns the config for hardware of this name; see configs/public.py."""
    public = pathlib.Path(__file__).with_name("public.py")
    c = runpy.run_path(str(public))["build"](FITS, hardware)
    c.base = "Qwen/Qwen3-VL-2B-Instruct"
    c.shape = "models/qwen3-vl-2b.json"
    c.image_size = 384  # 12 x 12 image tokens of 32 pixels; any multiple of 32
    c.train.lengths.describer = 704
    c.train.lengths.guesser = 1728
    return c
