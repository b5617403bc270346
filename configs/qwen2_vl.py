"""Qwen2-VL 2B: 144 tokens an image, 4 images a game.

    python -m vlm_games.main --config=configs/qwen2_vl.py --workdir=/tmp/run

Memory of each device, as --dry_run tells it (docs/checkpoints.md):

    one model       2,209 M x 2 bytes = 4.1 GiB
    a cached token  2 x 28 blocks x 2 heads x 128 x 2 bytes = 28 KiB
    an image        144 tokens x 1,536 x 2 bytes = 0.4 MiB

    gpu-80gb: measuring takes most, 55.0 of 72.0 GiB:
        12.3 three models, 0.1 image tokens,
        6.0 + 1.4 caches of 128 games (1728 + 384 tokens),
        6.0 a copy and 29.2 a block while games are admitted
        (training: 33.2, of these 24.6 activations)
    v5e-8: measuring takes most, 13.8 of 14.4 GiB:
        12.3 three models, 0.1 image tokens,
        0.2 + 0.0 caches of 4 games (1728 + 384 tokens),
        0.2 a copy and 0.9 a block while games are admitted
        (training: 11.6, of these 3.1 activations)
    v5p-32: measuring takes most, 55.0 of 85.5 GiB:
        12.3 three models, 0.1 image tokens,
        6.0 + 1.4 caches of 128 games (1728 + 384 tokens),
        6.0 a copy and 29.2 a block while games are admitted
        (training: 33.2, of these 24.6 activations)
"""

import pathlib
import runpy

import ml_collections

# Fields that make it fit; rows are per model, slots and images of them all.
FITS = {
    "gpu-80gb": {
        "play.slots": 128,
        "encode_images": 128,
        "score_rows": 32,
        "train.rows.describer": 16,
        "train.rows.guesser": 8,
    },
    "v5e-8": {
        "play.slots": 32,
        "encode_images": 64,
        "score_rows": 4,
        "train.rows.describer": 2,
        "train.rows.guesser": 1,
    },
    "v5p-32": {
        "play.slots": 2048,
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
    c.base = "Qwen/Qwen2-VL-2B-Instruct"
    c.shape = "models/qwen2-vl-2b.json"
    c.image_size = 336  # 12 x 12 image tokens of 28 pixels; any multiple of 28
    c.train.lengths.describer = 736
    c.train.lengths.guesser = 1728
    return c
