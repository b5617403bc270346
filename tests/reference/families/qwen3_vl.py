"""Qwen3-VL: a stretched table of positions, DeepStack, interleaved rotary."""

from transformers import Qwen3VLConfig, Qwen3VLProcessor

from reference.families import qwen2_vl


def build(vision: dict, sections=(4, 2, 2), tie=False, **changes):
    """A config and a processor of one shape; see `qwen2_vl.build`."""
    tokenizer = qwen2_vl.make_tokenizer()
    vision = {
        "depth": 3,
        "hidden_size": 32,
        "intermediate_size": 56,
        "out_hidden_size": 48,
        "num_heads": 4,
        "patch_size": 8,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "num_position_embeddings": 36,
        "deepstack_visual_indexes": [0, 2],
        **vision,
    }
    changes = {"num_hidden_layers": 3, "head_dim": 16, **changes}
    text = qwen2_vl.text(tokenizer, sections, **changes)
    text["rope_parameters"]["mrope_interleaved"] = True
    config = Qwen3VLConfig(
        vision_config=vision,
        text_config=text,
        tie_word_embeddings=tie,
        **qwen2_vl.token_ids(tokenizer),
    )
    processor = qwen2_vl.make_processor(
        Qwen3VLProcessor,
        tokenizer,
        vision,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    return config, processor


SHAPES = {
    "qwen3_vl": lambda: build({}),
    # A table smaller than an image, three features for four blocks.
    "qwen3_vl_tied": lambda: build(
        {
            "depth": 4,
            "num_position_embeddings": 9,
            "deepstack_visual_indexes": [0, 1, 2],
            "out_hidden_size": 40,
        },
        (6, 5, 5),
        tie=True,
        hidden_size=40,
        head_dim=32,
        num_hidden_layers=4,
        num_key_value_heads=4,
    ),
    # A table larger than an image, one feature, biases.
    "qwen3_vl_bias": lambda: build(
        {
            "patch_size": 16,
            "depth": 2,
            "num_position_embeddings": 100,
            "deepstack_visual_indexes": [0],
            "hidden_act": "gelu",
        },
        attention_bias=True,
        num_key_value_heads=1,
    ),
}
