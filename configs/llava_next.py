"""LLaVA-1.6 Mistral 7B: 576 tokens an image, 4 images a game.

    python -m vlm_games.main --config=configs/llava_next.py --workdir=/tmp/run

Memory of each device, as --dry_run tells it (docs/checkpoints.md):

    one model       7,554 M x 2 bytes = 14.1 GiB
    a cached token  2 x 32 blocks x 8 heads x 128 x 2 bytes = 128 KiB
    an image        576 tokens x 4,096 x 2 bytes = 4.5 MiB

    gpu-80gb: measuring takes most, 63.0 of 72.0 GiB:
        42.2 three models, 1.5 image tokens,
        1.7 + 0.4 caches of 4 games (3424 + 800 tokens),
        1.7 a copy and 15.5 a block while games are admitted
        (training: 40.6, of these 11.7 activations)
    v5p-32: measuring takes most, 82.2 of 85.5 GiB:
        42.2 three models, 1.5 image tokens,
        3.3 + 0.8 caches of 8 games (3424 + 800 tokens),
        3.3 a copy and 31.0 a block while games are admitted
        (training: 40.6, of these 11.7 activations)
    v5e-8, eight devices to a model: playing takes most, 12.7 of 14.4 GiB:
        3.5 an eighth of two models, 3.5 image tokens,
        0.4 + 0.1 caches of 8 games (3424 + 800 tokens),
        0.4 a copy and 4.8 a block while games are admitted
        (training: 6.4, of these 2.1 activations)
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
        "play.slots": 8,
        "encode_images": 16,
        "score_rows": 16,
        "train.rows.describer": 4,
        "train.rows.guesser": 1,
    },
    "v5p-32": {
        "play.slots": 128,
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
    c.base = "llava-hf/llava-v1.6-mistral-7b-hf"
    c.shape = "models/llava-v1.6-mistral-7b.json"
    c.train.lengths.describer = 1152
    c.train.lengths.guesser = 3456
    return c
