"""Qwen2-VL: images at their own size, multimodal rotary positions."""

from transformers import Qwen2VLConfig, Qwen2VLProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import (
    Qwen2VLImageProcessorPil,
)

from reference import common

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% for c in m['content'] %}{% if c['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ c['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_tokenizer():
    """With the special tokens of all Qwen-VL families."""
    return common.make_tokenizer(
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
        + ["<|vision_start|>", "<|vision_end|>"]
        + ["<|image_pad|>", "<|video_pad|>"],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
    )


def make_processor(kind, tokenizer, vision: dict, **fields):
    """A processor of one shape.

    Args:
      kind: its class. vision: `vision_config`. fields: of its image part.
    """
    p, merge = vision["patch_size"], vision["spatial_merge_size"]
    square = (p * merge) ** 2
    images = Qwen2VLImageProcessorPil(
        size={"shortest_edge": 2 * square, "longest_edge": 10 * square},
        patch_size=p,
        merge_size=merge,
        temporal_patch_size=vision["temporal_patch_size"],
        **fields,
    )
    return common.without_video(kind)(
        images, tokenizer, None, chat_template=TEMPLATE
    )


def token_ids(tokenizer) -> dict:
    """Fields of the config that name special tokens."""
    return {
        f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{token}|>")
        for name, token in (
            ("image", "image_pad"),
            ("video", "video_pad"),
            ("vision_start", "vision_start"),
            ("vision_end", "vision_end"),
        )
    }


def text(tokenizer, sections, **changes) -> dict:
    """Fields of a small decoder."""
    return {
        "vocab_size": len(tokenizer) + 5,  # as the true ones, padded
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1e6,
            "mrope_section": list(sections),
        },
        **changes,
    }


def build(vision: dict, sections=(2, 2, 2), tie=False, **changes):
    """A config and a processor of one shape.

    Args:
      vision: fields of its config. sections: of the decoder's rotary
        embedding. tie: whether the head is the embedding. changes: fields of
        the decoder.
    """
    tokenizer = make_tokenizer()
    vision = {
        "depth": 3,
        "embed_dim": 32,
        "hidden_size": 48,
        "num_heads": 4,
        "patch_size": 8,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        **vision,
    }
    config = Qwen2VLConfig(
        vision_config=vision,
        text_config=text(tokenizer, sections, **changes),
        tie_word_embeddings=tie,
        **token_ids(tokenizer),
    )
    return config, make_processor(Qwen2VLProcessor, tokenizer, vision)


SHAPES = {
    "qwen2_vl": lambda: build({}),
    "qwen2_vl_tied": lambda: build(
        {"patch_size": 14, "mlp_ratio": 2, "depth": 2, "hidden_size": 64},
        (2, 3, 3),
        tie=True,
        hidden_size=64,
        num_key_value_heads=4,
        rms_norm_eps=1e-6,
    ),
    # Blocks of the decoder that see a window, and other activations.
    "qwen2_vl_sliding": lambda: build(
        {"num_heads": 2, "hidden_act": "gelu", "temporal_patch_size": 1},
        (2, 1, 3),
        use_sliding_window=True,
        sliding_window=24,
        max_window_layers=1,
        num_hidden_layers=3,
    ),
}
