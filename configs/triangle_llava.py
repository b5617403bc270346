"""Triangular Consistency of LLaVA-1.5 7B: arXiv 2510.10487's settings.

    python -m vlm_games.main --config=configs/triangle_llava.py \
        --workdir=/tmp/run --config.images=/photos

The paper's: learning rate 2e-5, batch 128, vision encoder frozen, top 20% of
each type, 50/20/30 hidden, sentence embeddings. Of its size, 1M images and
LLaVA's 665k items, this is a small part: raise `triangle.images` and
`triangle.learn.steps`. One GPU has no room to train all of the decoder, nor a
batch of 128: it trains adapters, with 16 rows.

Memory of each device; --dry_run tells the games that are measured, the pairs
(where it counts a longer prompt) and the training:

    one model       7,051 M x 2 bytes = 13.1 GiB
    a cached token  2 x 32 blocks x 32 heads x 128 x 2 bytes = 512 KiB
    a prompt        1,024 + 102 tokens x 512 KiB = 0.55 GiB, all of a model

    v5p-32, two devices to a model: measuring takes most, 51.7 of 85.5 GiB:
        19.7 half of three models, 1.5 image tokens,
        8.4 + 1.8 caches of 10 games (3424 + 720 tokens),
        8.4 a copy and 12.0 a block while games are admitted
        (training: 47.0: 13.1 halves of two models, 6.6 a copy, 13.1 AdamW,
        6.6 gradients - 13.1 with two streams - 7.6 activations)
        pairs: 19.7 + 1.1 images of a shard + 8.8 cache of 32 + 8.8 a copy
    gpu-80gb: measuring takes most, 65.0 of 72.0 GiB:
        39.4 three models, 1.5 image tokens,
        6.7 + 1.4 caches of 4 games (3424 + 720 tokens),
        6.7 a copy and 9.3 a block while games are admitted
        (training: 36.5, of these 9.7 activations)
        pairs: 39.4 + 1.1 images of a shard + 8.8 cache of 16 + 8.8 a copy
"""

import pathlib
import runpy

import ml_collections

# Fields that make it fit; rows are per model.
FITS = {
    "v5p-32": {
        "mesh.tensor": 2,
        "play.slots": 80,
        "encode_images": 512,
        "score_rows": 32,
        "triangle.rows": 32,
        "triangle.tune.rows.seed": 16,
        "triangle.learn.rows.pair": 4,
        "triangle.learn.rows.seed": 12,
        "train.rows.describer": 16,
        "train.rows.guesser": 0,
    },
    "gpu-80gb": {
        "play.slots": 4,
        "encode_images": 64,
        "score_rows": 32,
        "triangle.rows": 16,
        "triangle.tune.rows.seed": 16,
        "triangle.learn.rows.pair": 4,
        "triangle.learn.rows.seed": 12,
        "train.rows.describer": 16,
        "train.rows.guesser": 0,
    },
}


def get_config(hardware: str = "v5p-32") -> ml_collections.ConfigDict:
    """Returns the config for hardware of this name; see configs/public.py."""
    public = pathlib.Path(__file__).with_name("public.py")
    c = runpy.run_path(str(public))["build"](FITS, hardware)
    c.method = "triangle"
    c.controls = ("seeds_only", "bottom")
    c.base = "llava-hf/llava-1.5-7b-hf"
    c.shape = "models/llava-1.5-7b.json"
    c.train.start = "base"
    c.train.frozen = ("vision",)
    c.train.weight_decay = 0.0
    c.train.augment = 0.0
    c.train.lengths.describer = 768  # as a row of pairs: what --dry_run tells
    if hardware == "v5p-32":
        c.train.lora.rank = 0
    c.recipe.agree = 0.0  # its labels are true
    t = c.triangle
    t.keep = 0.2
    t.balance = False
    t.hidden = (0.5, 0.2, 0.3)
    t.types = "form"
    t.similarity = "sentences"
    t.shard = 256  # as many images are in memory at once
    t.question_tokens = 48
    t.answer_tokens = 48
    for stage in (t.tune, t.learn):
        stage.learning_rate = 2e-5
        stage.warmup = 3
        for stream in stage.lengths:
            stage.lengths[stream] = 768
    return c
