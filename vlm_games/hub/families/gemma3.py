"""Gemma 3: SigLIP pooled to a few tokens, a decoder of sliding windows.

    64 x 64 patches --mean of 4 x 4--> norm --linear--> 256 image tokens

The tokens of an image attend to one another in both directions; blocks with a
window cut that off, too, as they do for text.
"""

import math
from collections.abc import Mapping
from typing import Any

from vlm_games.hub import leaves, parse, pictures
from vlm_games.hub.family import Family
from vlm_games.models.config import ConnectorConfig, VLMConfig

NORM = "rmsnorm_offset"
BLOCK = {
    **leaves.LLAMA_BLOCK,
    "attention_post_norm": "post_attention_layernorm",
    "mlp_norm": "pre_feedforward_layernorm",
    "mlp_post_norm": "post_feedforward_layernorm",
}


def config(fields: Mapping[str, Any]) -> VLMConfig:
    """config.json to the architecture."""
    text, vision = fields["text_config"], fields["vision_config"]
    if text["use_bidirectional_attention"]:
        raise ValueError(
            "config.json asks for use_bidirectional_attention: text that "
            "attends to later text cannot be generated. Take another "
            "checkpoint."
        )
    ropes = text["rope_parameters"]
    decoder = parse.text(
        {**text, "hidden_act": text["hidden_activation"]},
        norm=NORM,
        qk_norm=True,
        post_norms=True,
        scale=text["query_pre_attn_scalar"] ** -0.5,
        rope=parse.rope(ropes["full_attention"]),
        local_rope=parse.rope(ropes["sliding_attention"]),
    )
    tower = parse.clip(vision, vision["num_hidden_layers"], final_norm=True)
    return VLMConfig(
        vocab_size=text["vocab_size"],
        vision=tower,
        connector=ConnectorConfig(
            fold=pooled(tower.grid, fields["mm_tokens_per_image"]),
            pool="mean",
            norm=NORM,
            norm_eps=vision["layer_norm_eps"],
            norm_folded=True,
            bias=False,
        ),
        decoder=decoder,
        image_token_id=fields["image_token_index"],
        tie_embeddings=fields["tie_word_embeddings"],
        embed_scale=math.sqrt(decoder.width),
        image_attention="bidirectional",
    )


def pooled(grid: int, tokens: int) -> int:
    """Side of the square of patches behind each of an image's `tokens`.

    Raises:
      ValueError: the squares do not cover `grid` x `grid` patches.
    """
    side = math.isqrt(tokens)
    if side**2 != tokens or grid % side:
        raise ValueError(
            f"mm_tokens_per_image={tokens} of {grid} x {grid} patches: expected"
            f" the square of a number that divides {grid}."
        )
    return grid // side


def where(config: VLMConfig) -> leaves.Leaves:
    """Where each parameter lies."""
    projector = "multi_modal_projector.mm_"
    return {
        **leaves.clip_tower(config.vision, "vision_tower."),
        **leaves.norm("connector.norm", f"{projector}soft_emb_norm"),
        # Kept as [in, out], unlike a linear map of torch.
        "connector.down.kernel": leaves.Leaf(
            f"{projector}input_projection_weight"
        ),
        **leaves.decoder(
            config.decoder,
            config.tie_embeddings,
            "language_model.model.",
            "language_model.lm_head",
            BLOCK,
        ),
    }


def read(config: VLMConfig, fields, found: Mapping[str, Any]):
    """pixel_values is [images, 3, H, W]; a crop (pan and scan) is an image."""
    fold = config.connector.fold
    rows = pictures.tiles(found["pixel_values"], config.vision, fold)
    parts = pictures.split(rows, [1] * len(rows.pixels))
    return [pictures.whole(part, fold) for part in parts]


FAMILY = Family(
    model_types=("gemma3",),
    config=config,
    leaves=where,
    pictures=read,
    rename=(
        (r"^model\.language_model\.", "language_model.model."),
        (r"^model\.", ""),
        (r"^lm_head\.", "language_model.lm_head."),
        (r"^vision_tower\.vision_model\.", "vision_tower."),
    ),
    image_text="\n\n<start_of_image><image><end_of_image>\n\n",
    # SigLIP's pooling head.
    unused=(r"vision_tower\.head\..*",),
)
