"""Gemma 3 4B: 256 tokens an image, 4 images a game.

    python -m vlm_games.main --config=configs/gemma3.py --workdir=/tmp/run

Memory of each device, as --dry_run tells it (docs/checkpoints.md):

    one model       4,300 M x 2 bytes = 8.0 GiB
    a cached token  2 x 34 blocks x 4 heads x 256 x 2 bytes = 136 KiB
    an image        256 tokens x 2,560 x 2 bytes = 1.2 MiB

    gpu-80gb: measuring takes most, 59.4 of 72.0 GiB:
        24.0 three models, 0.4 image tokens,
        9.2 + 2.2 caches of 32 games (2208 + 512 tokens),
        9.2 a copy and 14.4 a block while games are admitted
        (training: 37.2, of these 20.6 activations)
    v5p-32: measuring takes most, 59.4 of 85.5 GiB:
        24.0 three models, 0.4 image tokens,
        9.2 + 2.2 caches of 32 games (2208 + 512 tokens),
        9.2 a copy and 14.4 a block while games are admitted
        (training: 37.2, of these 20.6 activations)
    v5e-8, four devices to a model: measuring takes most, 11.3 of 14.4 GiB:
        6.0 a fourth of three models, 0.4 image tokens,
        1.2 + 0.3 caches of 16 games (2208 + 512 tokens),
        1.2 a copy and 2.3 a block while games are admitted
        (training: 10.5, of these 6.0 activations)
"""

import pathlib
import runpy

import ml_collections

# Fields that make it fit; rows are per model, slots and images of them all.
FITS = {
    "gpu-80gb": {
        "play.slots": 32,
        "encode_images": 8,
        "score_rows": 16,
        "train.rows.describer": 8,
        "train.rows.guesser": 2,
    },
    "v5e-8": {
        "mesh.tensor": 4,
        "play.slots": 32,
        "encode_images": 16,
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
