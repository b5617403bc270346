"""Triangular Consistency of LLaVA-1.5 7B: arXiv 2510.10487's settings.

    python -m vlm_games.main --config=configs/triangle_llava.py \
        --workdir=/tmp/run --config.images=/photos
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
