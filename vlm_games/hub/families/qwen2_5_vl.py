"""Qwen2.5-VL (arXiv 2502.13923): as Qwen2-VL, most blocks see a window."""

from collections.abc import Mapping
from typing import Any

from vlm_games.hub import leaves, qwen
from vlm_games.hub.families import qwen2_vl
from vlm_games.hub.family import Family
from vlm_games.models.config import VLMConfig

BLOCK = {
    "qkv": "attn.qkv",
    "out": "attn.proj",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
    "attention_norm": "norm1",
    "mlp_norm": "norm2",
}


def config(fields: Mapping[str, Any]) -> VLMConfig:
    """config.json to the architecture."""
    vision = fields["vision_config"]
    width, fold = vision["hidden_size"], vision["spatial_merge_size"]
    whole = vision["fullatt_block_indexes"]
    encoder = qwen.encoder(
        vision,
        width,
        vision["intermediate_size"],
        norm="rmsnorm",
        gated=True,
        local=tuple(i not in whole for i in range(vision["depth"])),
    )
    # A window is whole image tokens.
    window = vision["window_size"] // fold // vision["patch_size"] * fold
    return qwen.model(
        fields,
        qwen.tower(
            vision,
            encoder,
            window=window,
        ),
        qwen.merger(vision, width, norm="rmsnorm"),
        layout="chunked",
    )


def where(config: VLMConfig) -> leaves.Leaves:
    """Where each parameter lies."""
    return qwen.model_leaves(config, BLOCK, qwen2_vl.MERGER)


FAMILY = Family(
    model_types=("qwen2_5_vl",),
    config=config,
    leaves=where,
    pictures=qwen.read,
    rename=qwen.RENAME,
    image_text=qwen.IMAGE_TEXT,
    folded=True,
)
