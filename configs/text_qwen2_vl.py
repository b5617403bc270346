"""Qwen2-VL 7B taught on text of its own: no image is read but to measure.

    python -m vlm_games.main --config=configs/text_qwen2_vl.py \
        --workdir=/tmp/run

Published (arXiv 2503.16965 v1): the base, what a
record holds, that contexts, depth and the way of asking vary, that training is
on text alone and the test on images. Not published here, and so ours: every
number below, LoRA, and the words of the prompts.

Memory of each device, by planning/memory.py (docs/checkpoints.md):

    one model       8,291 M x 2 bytes = 15.4 GiB
    a cached token  2 x 28 blocks x 4 heads x 128 x 2 bytes = 56 KiB
    adapters        162 M x 4 bytes = 0.6 GiB, twice that of optimizer's state

    gpu-80gb, v5p-32: measuring takes most, 60.1 of 72.0 and of 85.5 GiB, as
    --dry_run tells it. Of this method alone:
        writing   23.2: one model, 2.2 cache of 64 rows (256 + 384 tokens),
                  2.2 a copy and 3.3 a block while they are admitted
        checking  27.4: one model, 1.8 cache (512 + 8), 1.8 a copy, 8.3 a block
        training  25.6: one model, 2.4 adapters, optimizer and gradients,
                  7.7 activations of 8 rows of 512 tokens (v5p-32: 1 row, 18.8)
    v5e-8, four devices to a model: measuring takes most, 8.7 of 14.4 GiB;
        writing 4.4, checking 4.8, training 6.9
"""

import pathlib
import runpy

import ml_collections

# Fields that make it fit; rows are per model, slots and images of them all.
FITS = {
    "gpu-80gb": {
        "play.slots": 48,
        "encode_images": 64,
        "score_rows": 16,
        "text.rows": 64,
        "text.learn.rows.text": 8,
    },
    "v5e-8": {
        "mesh.tensor": 4,
        "play.slots": 8,
        "encode_images": 32,
        "score_rows": 8,
        "text.rows": 16,
        "text.learn.rows.text": 2,
    },
    "v5p-32": {
        "play.slots": 768,
        "encode_images": 1024,
        "score_rows": 16,
        "text.rows": 64,
        "text.learn.rows.text": 1,
    },
}
# What a situation is about, how hard it is made, how it is asked: one of each
# makes an instruction, so that the records differ. The paper varies the same
# three; the words are ours.
CONTEXTS = (
    "at home with children",
    "in road traffic",
    "at work among colleagues",
    "in a shop or a restaurant",
    "on a trip in the mountains or by the sea",
    "in a hospital or with somebody who is ill",
    "at a school or on a playground",
    "with animals",
    "in a fire, a storm or another emergency",
    "between neighbours or strangers",
)
DEPTHS = (
    "The right decision shows at once.",
    "The right decision depends on one detail that is easily overlooked.",
    "Two good aims stand against each other, and one weighs more.",
)
QUESTIONS = (
    "ask what is best done next",
    "ask, backwards, what must have led to what is seen",
    "ask which of several likely thoughts about it is a mistake",
)
WRITE = (
    "Invent a situation {context} in which somebody has to decide, as one "
    "could see it in a picture. {depth} Then {question}. Write it in lines: "
    "'Situation:', 'Question:', four lines with options from 'A.' to 'D.' of "
    "which exactly one is right, 'Answer:' with its letter, and 'Rationale:' "
    "with the reason in one or two sentences that name no letter."
)


def get_config(hardware: str = "gpu-80gb") -> ml_collections.ConfigDict:
    """Returns the config for hardware of this name; see configs/public.py."""
    there = pathlib.Path(__file__).with_name("qwen2_vl.py")
    c = runpy.run_path(str(there))["get_config"](hardware)
    c.base = "Qwen/Qwen2-VL-7B-Instruct"
    c.shape = "models/qwen2-vl-7b.json"
    c.method = "text"
    c.iterations = 1
    c.controls = ()
    c.instructions.situation = tuple(
        WRITE.format(context=context, depth=depth, question=question)
        for context in CONTEXTS
        for depth in DEPTHS
        for question in QUESTIONS
    )
    c.text.records = 8_192
    c.text.shard = 512
    c.text.tokens = 384
    c.text.temperature = 0.9
    c.text.choice_tokens = 8
    c.train.lora.rank = 64
    c.train.lora.alpha = 128.0
    c.train.weight_decay = 0.0
    c.train.save_every = 50
    c.text.learn.learning_rate = 5e-5
    c.text.learn.warmup = 8
    c.text.learn.steps = 256
    c.text.learn.lengths.text = 512
    c.update_from_flattened_dict(FITS[hardware])
    return c
