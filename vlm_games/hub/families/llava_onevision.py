"""LLaVA-OneVision: SigLIP, an MLP, Qwen2; see `hub.anyres`.

A prompt's only image is cut into tiles. Of several each is one tile, which
the processor pads to a square.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from vlm_games.hub import anyres
from vlm_games.hub.families import llava_next
from vlm_games.models.config import VLMConfig


def config(fields: Mapping[str, Any]) -> VLMConfig:
    """config.json to the architecture."""
    max_tiles(fields)  # fails now rather than at the first image
    return llava_next.config(fields)


def max_tiles(fields: Mapping[str, Any]) -> int:
    """Tiles' worth of tokens that an image keeps, such as 9 of anyres_max_9.

    Raises:
      ValueError: config.json names another layout.
    """
    name = fields["vision_aspect_ratio"]
    found = re.fullmatch(r"anyres_max_(\d+)", name)
    if not found:
        raise ValueError(
            f"config.json has vision_aspect_ratio={name!r}; expected "
            "'anyres_max_' and a number."
        )
    return int(found[1])


def read(config: VLMConfig, fields, found: Mapping[str, Any]):
    """One picture per image."""
    counts = np.asarray(found["batch_num_images"])
    tiled = np.repeat(counts == 1, counts).tolist()
    return anyres.read(config, fields, found, tiled, max_tiles(fields))


FAMILY = dataclasses.replace(
    llava_next.FAMILY,
    model_types=("llava_onevision",),
    config=config,
    pictures=read,
)
