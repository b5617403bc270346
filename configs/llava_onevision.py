"""LLaVA-OneVision 0.5B: 729 tokens an image, 4 images a game.

    python -m vlm_games.main --config=configs/llava_onevision.py --workdir=/tmp/run

MEMORY
"""

import pathlib
import runpy

import ml_collections

# Fields that make it fit; rows are per device, slots and images of them all.
FITS = {
    "gpu-80gb": {
        "play.slots": 32,
        "encode_images": 64,
        "score_rows": 16,
        "train.rows.describer": 16,
        "train.rows.guesser": 4,
    },
    "v5e-8": {
        "play.slots": 32,
        "encode_images": 64,
        "score_rows": 4,
        "train.rows.describer": 4,
        "train.rows.guesser": 1,
    },
    "v5p-32": {
        "play.slots": 512,
        "encode_images": 1024,
        "score_rows": 16,
        "train.rows.describer": 16,
        "train.rows.guesser": 4,
    },
}


def get_config(hardware: str = "gpu-80gb") -> ml_collections.ConfigDict:
    """Returns the config for hardware of this name; see configs/public.py."""
    public = pathlib.Path(__file__).with_name("public.py")
    c = runpy.run_path(str(public))["build"](FITS, hardware)
    c.base = "llava-hf/llava-onevision-qwen2-0.5b-ov-hf"
    c.shape = "models/llava-onevision-qwen2-0.5b.json"
    c.train.lengths.describer = 1280
    c.train.lengths.guesser = 4096
    return c
