"""LLaVA-OneVision 0.5B: 729 tokens an image, 4 images a game.

    python -m vlm_games.main --config=configs/llava_onevision.py --workdir=W

Memory of each device, as --dry_run tells it (docs/checkpoints.md):

    one model       894 M x 2 bytes = 1.7 GiB
    a cached token  2 x 24 blocks x 2 heads x 64 x 2 bytes = 12 KiB
    an image        729 tokens x 896 x 2 bytes = 1.2 MiB

    gpu-80gb: measuring takes most, 68.8 of 72.0 GiB:
        5.0 three models, 0.4 image tokens,
        1.5 + 0.4 caches of 32 games (4032 + 960 tokens),
        1.5 a copy and 60.1 a block while games are admitted
        (training: 39.1, of these 35.6 activations)
    v5e-8: measuring takes most, 13.3 of 14.4 GiB:
        5.0 three models, 0.4 image tokens,
        0.2 + 0.0 caches of 4 games (4032 + 960 tokens),
        0.2 a copy and 7.5 a block while games are admitted
        (training: 12.4, of these 8.9 activations)
    v5p-32: measuring takes most, 68.8 of 85.5 GiB:
        5.0 three models, 0.4 image tokens,
        1.5 + 0.4 caches of 32 games (4032 + 960 tokens),
        1.5 a copy and 60.1 a block while games are admitted
        (training: 39.1, of these 35.6 activations)
"""

import pathlib
import runpy

import ml_collections

# Fields that make it fit; rows are per model, slots and images of them all.
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
