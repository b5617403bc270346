"""SmolVLM 256M: 64 tokens an image, 4 images a game.

    python -m vlm_games.main --config=configs/smolvlm.py --workdir=/tmp/run

MEMORY
"""

import pathlib
import runpy

import ml_collections

# Fields that make it fit; rows are per device, slots and images of them all.
FITS = {
    "gpu-80gb": {
        "play.slots": 256,
        "encode_images": 128,
        "score_rows": 64,
        "train.rows.describer": 32,
        "train.rows.guesser": 16,
    },
    "v5e-8": {
        "play.slots": 256,
        "encode_images": 256,
        "score_rows": 16,
        "train.rows.describer": 8,
        "train.rows.guesser": 2,
    },
    "v5p-32": {
        "play.slots": 4096,
        "encode_images": 1024,
        "score_rows": 64,
        "train.rows.describer": 32,
        "train.rows.guesser": 16,
    },
}


def get_config(hardware: str = "gpu-80gb") -> ml_collections.ConfigDict:
    """Returns the config for hardware of this name; see configs/public.py."""
    public = pathlib.Path(__file__).with_name("public.py")
    c = runpy.run_path(str(public))["build"](FITS, hardware)
    c.base = "HuggingFaceTB/SmolVLM-256M-Instruct"
    c.shape = "models/smolvlm-256m.json"
    c.train.lengths.describer = 640
    c.train.lengths.guesser = 1472
    return c
