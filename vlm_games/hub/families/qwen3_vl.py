"""Qwen3-VL (arXiv 2511.21631): a stretched table of positions, DeepStack."""

from collections.abc import Mapping
from typing import Any

from vlm_games.hub import leaves, qwen
from vlm_games.hub.family import Family
from vlm_games.models.config import VLMConfig

BLOCK = {
    "qkv": "attn.qkv",
    "out": "attn.proj",
    "up": "mlp.linear_fc1",
    "down": "mlp.linear_fc2",
    "attention_norm": "norm1",
    "mlp_norm": "norm2",
}
MERGER = ("norm", "linear_fc1", "linear_fc2")


def config(fields: Mapping[str, Any]) -> VLMConfig:
    """config.json to the architecture."""
    vision = fields["vision_config"]
    width = vision["hidden_size"]
    encoder = qwen.encoder(vision, width, vision["intermediate_size"])
    tower = qwen.tower(
        vision,
        encoder,
        positions=vision["num_position_embeddings"],
        interpolate=True,
        patch_bias=True,
        deep=tuple(vision["deepstack_visual_indexes"]),
    )
    return qwen.model(
        fields,
        tower,
        qwen.merger(vision, width),
        layout="interleaved",
        deep_connector=qwen.merger(vision, width, norm_folded=True),
    )


def where(config: VLMConfig) -> leaves.Leaves:
    """Where each parameter lies."""
    return qwen.model_leaves(config, BLOCK, MERGER)


FAMILY = Family(
    model_types=("qwen3_vl",),
    config=config,
    leaves=where,
    pictures=qwen.read,
    rename=qwen.RENAME,
    image_text=qwen.IMAGE_TEXT,
    folded=True,
)
