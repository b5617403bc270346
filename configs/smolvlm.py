"""SmolVLM 256M: 64 tokens an image, 4 images a game.

    python -m vlm_games.main --config=configs/smolvlm.py --workdir=/tmp/run

Memory of each device, as --dry_run tells it (docs/checkpoints.md):

    one model       256 M x 2 bytes = 0.5 GiB
    a cached token  2 x 30 blocks x 3 heads x 64 x 2 bytes = 22 KiB
    an image        64 tokens x 576 x 2 bytes = 0.1 MiB

    gpu-80gb: measuring takes most, 34.5 of 72.0 GiB:
        1.4 three models, 0.0 image tokens,
        8.1 + 1.8 caches of 256 games (1472 + 320 tokens),
        8.1 a copy and 15.0 a block while games are admitted
        (training: 14.8, of these 13.7 activations)
    v5e-8: measuring takes most, 5.6 of 14.4 GiB:
        1.4 three models, 0.0 image tokens,
        1.0 + 0.2 caches of 32 games (1472 + 320 tokens),
        1.0 a copy and 1.9 a block while games are admitted
        (training: 4.0, of these 3.0 activations)
    v5p-32: measuring takes most, 34.5 of 85.5 GiB:
        1.4 three models, 0.0 image tokens,
        8.1 + 1.8 caches of 256 games (1472 + 320 tokens),
        8.1 a copy and 15.0 a block while games are admitted
        (training: 14.8, of these 13.7 activations)
"""

import pathlib
import runpy

import ml_collections

# Fields that make it fit; rows are per model, slots and images of them all.
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
    c.train.lengths.describer = 672
    c.train.lengths.guesser = 1472
    return c
