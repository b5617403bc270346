"""LLaVA-NeXT (1.6): LLaVA with tiles; see `hub.anyres`."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from vlm_games.hub import anyres, leaves
from vlm_games.hub.families import llava
from vlm_games.models.config import VLMConfig


def config(fields: Mapping[str, Any]) -> VLMConfig:
    """config.json to the architecture."""
    return dataclasses.replace(llava.config(fields), newline=True)


def where(config: VLMConfig) -> leaves.Leaves:
    """Where each parameter lies."""
    return {**llava.where(config), "newline": leaves.Leaf("image_newline")}


def read(config: VLMConfig, fields, found: Mapping[str, Any]):
    """One picture per image; all are cut into tiles."""
    tiled = [True] * len(found["pixel_values"])
    return anyres.read(config, fields, found, tiled)


FAMILY = dataclasses.replace(
    llava.FAMILY,
    model_types=("llava_next",),
    config=config,
    leaves=where,
    pictures=read,
)
