"""Qwen3-VL 2B: 144 tokens an image, 4 images a game.

    python -m vlm_games.main --config=configs/qwen3_vl.py --workdir=/tmp/run

Memory of each device, as --dry_run tells it (docs/checkpoints.md):

    one model       2,128 M x 2 bytes = 4.0 GiB
    a cached token  2 x 28 blocks x 8 heads x 128 x 2 bytes = 112 KiB
    an image        144 tokens x 8,192 (2,048 x 4) x 2 bytes = 2.2 MiB

    gpu-80gb: measuring takes most, 56.5 of 72.0 GiB:
        11.9 three models, 0.8 image tokens,
        11.8 + 2.7 caches of 64 games (1728 + 384 tokens),
        11.8 a copy and 17.5 a block while games are admitted
        (training: 33.2, of these 24.9 activations)
    v5e-8: measuring takes most, 14.0 of 14.4 GiB:
        11.9 three models, 0.8 image tokens,
        0.4 + 0.1 caches of 2 games (1728 + 384 tokens),
        0.4 a copy and 0.5 a block while games are admitted
        (training: 11.4, of these 3.1 activations)
    v5p-32: measuring takes most, 56.5 of 85.5 GiB:
        11.9 three models, 0.8 image tokens,
        11.8 + 2.7 caches of 64 games (1728 + 384 tokens),
        11.8 a copy and 17.5 a block while games are admitted
        (training: 33.2, of these 24.9 activations)
"""

import pathlib
import runpy

import ml_collections

# Fields that make it fit; rows are per model, slots and images of them all.
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
    c.train.lengths.describer = 736
    c.train.lengths.guesser = 1728
    return c
