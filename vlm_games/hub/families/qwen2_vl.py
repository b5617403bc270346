"""Qwen2-VL (arXiv 2409.12191): images at their own size, a merger, Qwen2."""

from collections.abc import Mapping
from typing import Any

from vlm_games.hub import leaves, qwen
from vlm_games.hub.family import Family
from vlm_games.models.config import VLMConfig

BLOCK = {
    "qkv": "attn.qkv",
    "out": "attn.proj",
    "up": "mlp.fc1",
    "down": "mlp.fc2",
    "attention_norm": "norm1",
    "mlp_norm": "norm2",
}
MERGER = ("ln_q", "mlp.0", "mlp.2")


def config(fields: Mapping[str, Any]) -> VLMConfig:
    """config.json to the architecture."""
    vision = fields["vision_config"]
    width = vision["embed_dim"]
    encoder = qwen.encoder(vision, width, int(width * vision["mlp_ratio"]))
    return qwen.model(
        fields,
        qwen.tower(vision, encoder),
        qwen.merger(vision, width),
        layout="chunked",
    )


def where(config: VLMConfig) -> leaves.Leaves:
    """Where each parameter lies."""
    return qwen.model_leaves(config, BLOCK, MERGER)


FAMILY = Family(
    model_types=("qwen2_vl",),
    config=config,
    leaves=where,
    pictures=qwen.read,
    rename=qwen.RENAME,
    image_text=qwen.IMAGE_TEXT,
    folded=True,
)
