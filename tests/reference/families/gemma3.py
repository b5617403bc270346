"""Gemma 3: SigLIP pooled, windows shorter than an image in one shape."""

from transformers import (
    Gemma3Config,
    Gemma3Processor,
    Gemma3TextConfig,
    SiglipVisionConfig,
)
from transformers.models.gemma3.image_processing_pil_gemma3 import (
    Gemma3ImageProcessorPil,
)

from reference import common

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>"
    "{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<start_of_image>"
    "{% else %}{{ c['text'] | trim }}{% endif %}{% endfor %}"
    "<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
SPECIAL = ["<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"]
IMAGE = {
    "boi_token": "<start_of_image>",
    "eoi_token": "<end_of_image>",
    "image_token": "<image_soft_token>",
}


def build(text: dict, vision: dict, tokens: int = 4, scan=None, **fields):
    """A config and a processor of one shape.

    Args:
      text, vision: fields of their configs. tokens: of an image.
      scan: fields of the image processor for crops; None for no crops.
      fields: of Gemma3Config.
    """
    tokenizer = common.make_tokenizer(
        [*SPECIAL, *IMAGE.values()],
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        extra_special_tokens=IMAGE,
    )
    ids = tokenizer.convert_tokens_to_ids
    config = Gemma3Config(
        vision_config=SiglipVisionConfig(vision_use_head=False, **vision),
        text_config=Gemma3TextConfig(
            vocab_size=len(tokenizer) + 5,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=[tokenizer.eos_token_id, ids("<end_of_turn>")],
            pad_token_id=tokenizer.pad_token_id,
            **text,
        ),
        mm_tokens_per_image=tokens,
        image_token_index=ids("<image_soft_token>"),
        boi_token_index=ids("<start_of_image>"),
        eoi_token_index=ids("<end_of_image>"),
        **fields,
    )
    side = vision["image_size"]
    images = Gemma3ImageProcessorPil(
        size={"height": side, "width": side},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
        **({"do_pan_and_scan": True, **scan} if scan else {}),
    )
    processor = Gemma3Processor(
        images, tokenizer, chat_template=TEMPLATE, image_seq_length=tokens
    )
    return config, processor


def text(**changes) -> dict:
    """Fields of a small decoder."""
    return {
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "query_pre_attn_scalar": 16,
        "sliding_window": 16,
        "sliding_window_pattern": 2,
        **changes,
    }


def vision(**changes) -> dict:
    """Fields of a small tower."""
    return {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 28,
        "patch_size": 7,
        "hidden_act": "gelu_pytorch_tanh",
        **changes,
    }


SHAPES = {
    "gemma3": lambda: build(text(), vision()),
    # 16 tokens an image, of which a block with a window sees 5.
    "gemma3_short_window": lambda: build(
        text(
            sliding_window=5,
            rope_scaling={"rope_type": "linear", "factor": 8.0},
            query_pre_attn_scalar=40,
        ),
        vision(image_size=32, patch_size=4, num_attention_heads=2),
        tokens=16,
    ),
    "gemma3_untied": lambda: build(
        text(
            num_key_value_heads=4,
            attention_bias=True,
            layer_types=["full_attention", "sliding_attention"],
            num_hidden_layers=2,
            rms_norm_eps=1e-5,
            tie_word_embeddings=False,
        ),
        vision(layer_norm_eps=1e-5, image_size=42),
        tokens=9,
        scan={
            "pan_and_scan_min_crop_size": 16,
            "pan_and_scan_max_num_crops": 2,
            "pan_and_scan_min_ratio_to_activate": 1.8,
        },
        tie_word_embeddings=False,
    ),
}
