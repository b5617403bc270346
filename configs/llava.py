"""LLaVA-1.5 7B: 576 tokens an image, 4 images a game.

    python -m vlm_games.main --config=configs/llava.py --workdir=/tmp/run

Memory of each device, as --dry_run tells it (docs/checkpoints.md):

    one model       7,051 M x 2 bytes = 13.1 GiB
    a cached token  2 x 32 blocks x 32 heads x 128 x 2 bytes = 512 KiB
    an image        576 tokens x 4,096 x 2 bytes = 4.5 MiB

    gpu-80gb: measuring takes most, 71.3 of 72.0 GiB:
        39.4 three models, 1.5 image tokens,
        6.7 + 1.6 caches of 4 games (3424 + 800 tokens),
        6.7 a copy and 15.4 a block while games are admitted
        (training: 38.5, of these 11.5 activations)
    v5p-32: measuring takes most, 78.8 of 85.5 GiB:
        39.4 three models, 1.5 image tokens,
        8.4 + 2.0 caches of 5 games (3424 + 800 tokens),
        8.4 a copy and 19.2 a block while games are admitted
        (training: 38.5, of these 11.5 activations)
    v5e-8, eight devices to a model: playing takes most, 11.0 of 14.4 GiB:
        3.3 an eighth of two models, 3.5 image tokens,
        0.8 + 0.2 caches of 4 games (3424 + 800 tokens),
        0.8 a copy and 2.4 a block while games are admitted
        (training: 6.1, of these 2.1 activations)
"""

import pathlib
import runpy

import ml_collections

# Fields that make it fit; rows are per model, slots and images of them all.
FITS = {
    "gpu-80gb": {
        "play.slots": 4,
        "encode_images": 64,
        "score_rows": 32,
        "train.rows.describer": 8,
        "train.rows.guesser": 2,
    },
    "v5e-8": {
        "mesh.tensor": 8,
        "play.slots": 4,
        "encode_images": 16,
        "score_rows": 16,
        "train.rows.describer": 4,
        "train.rows.guesser": 1,
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
