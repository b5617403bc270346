"""Qwen2.5-VL 7B: 144 tokens an image, 4 images a game.

    python -m vlm_games.main --config=configs/qwen2_5_vl.py --workdir=/tmp/run

Memory of each device, as --dry_run tells it (docs/checkpoints.md):

    one model       8,292 M x 2 bytes = 15.4 GiB
    a cached token  2 x 28 blocks x 4 heads x 128 x 2 bytes = 56 KiB
    an image        144 tokens x 3,584 x 2 bytes = 1.0 MiB

    gpu-80gb: measuring takes most, 69.9 of 72.0 GiB:
        46.3 three models, 0.3 image tokens,
        3.0 + 0.7 caches of 32 games (1728 + 384 tokens),
        3.0 a copy and 16.7 a block while games are admitted
        (training: 44.7, of these 13.0 activations)
    v5p-32: measuring takes most, 69.9 of 85.5 GiB:
        46.3 three models, 0.3 image tokens,
        3.0 + 0.7 caches of 32 games (1728 + 384 tokens),
        3.0 a copy and 16.7 a block while games are admitted
        (training: 44.7, of these 13.0 activations)
    v5e-8, four devices to a model: measuring takes most, 13.6 of 14.4 GiB:
        11.6 a fourth of three models, 0.3 image tokens,
        0.2 + 0.1 caches of 8 games (1728 + 384 tokens),
        0.2 a copy and 1.2 a block while games are admitted
        (training: 10.6, of these 2.1 activations)
"""

import pathlib
import runpy

import ml_collections

# Fields that make it fit; rows are per model, slots and images of them all.
FITS = {
    "gpu-80gb": {
        "play.slots": 32,
        "encode_images": 128,
        "score_rows": 32,
        "train.rows.describer": 8,
        "train.rows.guesser": 4,
    },
    "v5e-8": {
        "mesh.tensor": 4,
        "play.slots": 16,
        "encode_images": 32,
        "score_rows": 16,
        "train.rows.describer": 4,
        "train.rows.guesser": 2,
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
    c.train.lengths.describer = 736
    c.train.lengths.guesser = 1728
    return c
