"""LLaVA-1.5: CLIP, an MLP, Vicuna. One image is one square of patches."""

from collections.abc import Mapping
from typing import Any

from vlm_games.hub import leaves, parse, pictures
from vlm_games.hub.family import Family
from vlm_games.models.config import ConnectorConfig, VLMConfig


def config(fields: Mapping[str, Any]) -> VLMConfig:
    """config.json to the architecture."""
    vision, decoder = fields["vision_config"], parse.text(fields["text_config"])
    depth = parse.used_depth(vision, fields["vision_feature_layer"])
    strategy = fields["vision_feature_select_strategy"]
    if strategy != ("default" if "clip" in vision["model_type"] else "full"):
        raise ValueError(
            f"vision_feature_select_strategy={strategy!r} with the tower "
            f"{vision['model_type']!r} is not supported: "
            "docs/checkpoints.md lists what is."
        )
    return VLMConfig(
        vocab_size=fields["text_config"]["vocab_size"],
        vision=parse.clip(vision, depth, final_norm=False),
        connector=ConnectorConfig(
            hidden=decoder.width,
            activation=parse.activation(fields["projector_hidden_act"]),
            bias=fields["multimodal_projector_bias"],
        ),
        decoder=decoder,
        image_token_id=fields["image_token_index"],
        tie_embeddings=fields["tie_word_embeddings"],
    )


def where(config: VLMConfig) -> leaves.Leaves:
    """Where each parameter lies."""
    c, bias = config, config.connector.bias
    return {
        **leaves.clip_tower(c.vision, "vision_tower."),
        **leaves.linear("connector.up", "multi_modal_projector.linear_1", bias),
        **leaves.linear(
            "connector.down", "multi_modal_projector.linear_2", bias
        ),
        **leaves.decoder(
            c.decoder,
            c.tie_embeddings,
            "language_model.model.",
            "language_model.lm_head",
        ),
    }


def read(config: VLMConfig, fields, found: Mapping[str, Any]):
    """One picture per image: pixel_values is [images, 3, H, W]."""
    pixels = found["pixel_values"]
    rows = pictures.tiles(pixels, config.vision, 1)
    parts = pictures.split(rows, [1] * len(pixels))
    return [pictures.whole(part, 1) for part in parts]


FAMILY = Family(
    model_types=("llava",),
    config=config,
    leaves=where,
    pictures=read,
    rename=(
        (r"^model\.language_model\.", "language_model.model."),
        (r"^model\.", ""),
        (r"^lm_head\.", "language_model.lm_head."),
        (r"^vision_tower\.vision_model\.", "vision_tower."),
    ),
    # Blocks behind the chosen hidden state, and the norm after them.
    unused=(
        r"vision_tower\.encoder\.layers\..*",
        r"vision_tower\.(post_layernorm|head)\..*",
    ),
)
