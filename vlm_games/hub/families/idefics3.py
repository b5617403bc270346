"""Idefics3 and SmolVLM: SigLIP over tiles, pixel shuffle, Llama.

    tile 1  tile 2         <fake><row_1_col_1> t t t t <fake><row_1_col_2> t...
    tile 3  tile 4   -->   <fake><row_2_col_1> t t t t ...
    whole image            <fake><global-img> t t t t <fake>

The processor writes the text around the tiles, all of one size; to the model
each tile is a picture of its own.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from vlm_games.hub import leaves, parse, pictures
from vlm_games.hub.family import Family
from vlm_games.models.config import ConnectorConfig, VisionConfig, VLMConfig
from vlm_games.models.vision import Patches


def config(fields: Mapping[str, Any]) -> VLMConfig:
    """config.json to the architecture."""
    vision = fields["vision_config"]
    return VLMConfig(
        vocab_size=fields["text_config"]["vocab_size"],
        vision=parse.clip(vision, vision["num_hidden_layers"], final_norm=True),
        connector=ConnectorConfig(fold=fields["scale_factor"], bias=False),
        decoder=parse.text(fields["text_config"]),
        image_token_id=fields["image_token_id"],
        tie_embeddings=fields["tie_word_embeddings"],
    )


def where(config: VLMConfig) -> leaves.Leaves:
    """Where each parameter lies."""
    return {
        **leaves.clip_tower(config.vision, "model.vision_model."),
        **leaves.linear(
            "connector.down",
            "model.connector.modality_projection.proj",
            bias=False,
        ),
        **leaves.decoder(
            config.decoder,
            config.tie_embeddings,
            "model.text_model.",
            "lm_head",
        ),
    }


def read(config: VLMConfig, fields, found: Mapping[str, Any]):
    """One picture per tile: pixel_values is [1, tiles, 3, H, W].

    Raises:
      ValueError: a tile is padded, which no processor does to one prompt.
    """
    pixels, fold = np.asarray(found["pixel_values"])[0], config.connector.fold
    if not np.all(found.get("pixel_attention_mask", 1)):
        raise ValueError(
            "pixel_attention_mask leaves out pixels: expected tiles of one "
            "size, without padding. Read one conversation at a time."
        )
    rows = spread(pictures.tiles(pixels, config.vision, fold), config.vision)
    parts = pictures.split(rows, [1] * len(pixels))
    return [pictures.whole(part, fold) for part in parts]


def spread(patches: Patches, vision: VisionConfig) -> Patches:
    """Spreads each tile over the whole table of positions.

    A tile with n patches a side takes rows floor(i * grid / n). The reference
    does this in float32; the two agree for the grids of public checkpoints
    (26, 27, 32), where tiles fill the table and the rows are its own.
    """
    count = patches.places[0].max(axis=0) + 1
    row, column = np.moveaxis(
        np.asarray(patches.places) * vision.grid // count, -1, 0
    )
    rows = (row * vision.grid + column)[..., None]
    return Patches(
        patches.pixels, rows, patches.shares, patches.places, patches.windows
    )


FAMILY = Family(
    model_types=("idefics3", "smolvlm"),
    config=config,
    leaves=where,
    pictures=read,
    processor="Idefics3Processor",
    image_text=(
        "<fake_token_around_image><global-img><image><fake_token_around_image>"
    ),
)
