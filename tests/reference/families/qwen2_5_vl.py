"""Qwen2.5-VL: as Qwen2-VL, but most blocks of the tower see a window."""

from transformers import Qwen2_5_VLConfig, Qwen2_5_VLProcessor

from reference.families import qwen2_vl


def build(vision: dict, sections=(2, 2, 2), tie=False, **changes):
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
        "window_size": 32,
        "fullatt_block_indexes": [1],
        **vision,
    }
    config = Qwen2_5_VLConfig(
        vision_config=vision,
        text_config=qwen2_vl.text(tokenizer, sections, **changes),
        tie_word_embeddings=tie,
        **qwen2_vl.token_ids(tokenizer),
    )
    processor = qwen2_vl.make_processor(Qwen2_5_VLProcessor, tokenizer, vision)
    return config, processor


SHAPES = {
    "qwen2_5_vl": lambda: build({}),
    # No window divides an image of these; the last block sees all.
    "qwen2_5_vl_tied": lambda: build(
        {
            "depth": 4,
            "patch_size": 6,
            "window_size": 36,
            "fullatt_block_indexes": [0, 3],
            "out_hidden_size": 64,
        },
        (2, 3, 3),
        tie=True,
        hidden_size=64,
        num_key_value_heads=1,
        rms_norm_eps=1e-6,
    ),
    # The last block's features are windowed; a window is one image token.
    "qwen2_5_vl_narrow": lambda: build(
        {"window_size": 30, "num_heads": 2, "hidden_act": "gelu"},
        (1, 2, 3),
        num_key_value_heads=4,
        num_hidden_layers=3,
    ),
}
