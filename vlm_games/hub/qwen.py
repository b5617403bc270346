"""What the families Qwen2-VL, Qwen2.5-VL and Qwen3-VL have in common.

An image keeps its shape: it is as many patches as its own size asks for. A
merger makes one image token of a square of patches. Positions have three axes:
time, row and column.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import einops
import numpy as np

from vlm_games.hub import leaves, parse, pictures
from vlm_games.hub.family import Picture
from vlm_games.models.config import (
    ConnectorConfig,
    RopeConfig,
    TransformerConfig,
    VisionConfig,
    VLMConfig,
)
from vlm_games.models.vision import Patches, patch_layout

# Image tokens along a side of the square images that games are played with,
# where the game's config says nothing else: any number would do.
SIDE = 16
EPS = 1e-6  # of all norms of the tower; no field of config.json tells it
IMAGE_TEXT = "<|vision_start|><image><|vision_end|>"
# To the names that transformers 5 has in memory, from those of hub files.
RENAME = (
    (r"^visual\.", "model.visual."),
    (r"^model\.(?!visual\.|language_model\.)", "model.language_model."),
)


def encoder(
    vision: Mapping[str, Any], width: int, mlp_width: int, **changes
) -> TransformerConfig:
    """The blocks of the tower, from `vision_config`.

    Args:
      vision: as transformers completes it.
      width, mlp_width: the families name them differently.
      changes: fields of TransformerConfig that differ in a family.
    """
    heads = vision["num_heads"]
    # Half of a head's pairs turn by the row, half by the column.
    rope = RopeConfig(
        vision["rope_parameters"]["rope_theta"],
        sections=(width // heads // 4,) * 2,
        layout="axial",
    )
    base = {
        "width": width,
        "depth": vision["depth"],
        "heads": heads,
        "kv_heads": heads,
        "head_dim": width // heads,
        "mlp_width": mlp_width,
        "norm": "layernorm",
        "norm_eps": EPS,
        "activation": parse.activation(vision["hidden_act"]),
        "gated": False,
        "qkv_bias": True,
        "out_bias": True,
        "mlp_bias": True,
        "final_norm": False,
        "rope": rope,
    }
    return TransformerConfig(**{**base, **changes})


def tower(
    vision: Mapping[str, Any], encoder: TransformerConfig, **changes
) -> VisionConfig:
    """The tower, from `vision_config`; see `encoder` for the arguments."""
    size = vision["patch_size"]
    base = {
        "image_size": SIDE * size * vision["spatial_merge_size"],
        "patch_size": size,
        "encoder": encoder,
        "frames": vision["temporal_patch_size"],
        "positions": 0,
        "patch_bias": False,
    }
    return VisionConfig(**{**base, **changes})


def merger(vision: Mapping[str, Any], width: int, **changes) -> ConnectorConfig:
    """The merger of a tower of `width`, from `vision_config`."""
    fold = vision["spatial_merge_size"]
    base = {
        "fold": fold,
        "norm": "layernorm",
        "norm_eps": EPS,
        "hidden": width * fold**2,
    }
    return ConnectorConfig(**{**base, **changes})


def model(
    fields: Mapping[str, Any],
    vision: VisionConfig,
    connector: ConnectorConfig,
    layout: str,
    deep_connector: ConnectorConfig | None = None,
) -> VLMConfig:
    """The whole, from config.json.

    Args:
      fields: as transformers completes them.
      vision, connector, deep_connector: the parts.
      layout: how time, row and column share a head; see RopeConfig.
    """
    text = fields["text_config"]
    scaling = text["rope_parameters"]
    rope = parse.rope(
        scaling, sections=tuple(scaling["mrope_section"]), layout=layout
    )
    return VLMConfig(
        vocab_size=text["vocab_size"],
        vision=vision,
        connector=connector,
        decoder=parse.text(text, rope=rope),
        image_token_id=fields["image_token_id"],
        tie_embeddings=fields["tie_word_embeddings"],
        deep_connector=deep_connector,
    )


def merger_leaves(
    path: str, prefix: str, names: tuple[str, str, str], bias: bool
) -> leaves.Leaves:
    """A merger.

    Args:
      path: of it in the params tree. prefix: of its tensors in the file.
      names: of its norm and its two linear maps. bias: whether the norm has
        one.
    """
    norm, up, down = (f"{prefix}.{name}" for name in names)
    return {
        **leaves.norm(f"{path}.norm", norm, bias),
        **leaves.linear(f"{path}.up", up),
        **leaves.linear(f"{path}.down", down),
    }


def model_leaves(
    config: VLMConfig, block: Mapping[str, str], names: tuple[str, str, str]
) -> leaves.Leaves:
    """Where each parameter lies, by the names that RENAME gives.

    Args:
      block: of the tower, see `leaves.blocks`. names: see `merger_leaves`.
    """
    c, vision = config, config.vision
    patches = "model.visual.patch_embed.proj"
    size = vision.patch_size
    found = {
        "vision.patches.kernel": leaves.Leaf(
            f"{patches}.weight",
            "d c t p q -> (t p q c) d",
            (("t", vision.frames), ("p", size), ("q", size)),
        )
    }
    if vision.patch_bias:
        found["vision.patches.bias"] = leaves.Leaf(f"{patches}.bias")
    if vision.table:
        table = leaves.Leaf("model.visual.pos_embed.weight")
        found["vision.position"] = table
    tower = "model.visual.blocks.{i}."
    found |= leaves.blocks(vision.encoder, "vision.encoder", tower, block)
    bias = c.connector.norm == "layernorm"
    found |= merger_leaves("connector", "model.visual.merger", names, bias)
    for i in range(len(vision.deep)):
        deep = f"model.visual.deepstack_merger_list.{i}"
        found |= merger_leaves(f"deep_{i}", deep, names, bias)
    prefix = "model.language_model."
    found |= leaves.decoder(c.decoder, c.tie_embeddings, prefix, "lm_head")
    return found


def read(config: VLMConfig, fields, found: Mapping[str, Any]) -> list[Picture]:
    """One picture per image.

    Args:
      found: "pixel_values" [patches of all images, channel x frame x row x
        column], the squares of a merger side by side, and "image_grid_thw"
        [images, 3], frames, rows and columns of patches.
    """
    vision, fold = config.vision, config.connector.fold
    pixels = einops.rearrange(
        np.asarray(found["pixel_values"], np.float32),
        "n (c t p q) -> n (t p q c)",
        t=vision.frames,
        p=vision.patch_size,
        q=vision.patch_size,
    )
    result, first = [], 0
    for _, height, width in np.asarray(found["image_grid_thw"]).tolist():
        layout = patch_layout(vision, height, width, fold)
        own = pixels[first : first + height * width]
        patches = Patches(own[None], *[x[None] for x in layout])
        picture = pictures.whole(patches, fold)
        grid = (height // fold, width // fold)
        result.append(dataclasses.replace(picture, grid=grid))
        first += height * width
    return result
