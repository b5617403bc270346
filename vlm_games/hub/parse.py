"""From config.json, as transformers completes it, to our configs."""

from collections.abc import Mapping
from typing import Any

from vlm_games.models.config import RopeConfig, TransformerConfig, VisionConfig

ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "silu": "silu",
    "relu": "relu",
}

DECODERS = ("llama", "mistral", "qwen2", "qwen3", "gemma3")


def activation(name: str) -> str:
    """Our name of an activation.

    Raises:
      ValueError: it is not among ours.
    """
    if name not in ACTIVATIONS:
        raise ValueError(
            f"config.json asks for the activation {name!r}; known are "
            f"{', '.join(ACTIVATIONS)}; docs/adding-a-family.md says where to "
            "add one."
        )
    return ACTIVATIONS[name]


def rope(fields: Mapping[str, Any], **changes) -> RopeConfig:
    """From `rope_parameters` of one kind of block.

    Args:
      fields: with "rope_type" and "rope_theta". changes: to the result.

    Raises:
      ValueError: a kind of scaling that is not among ours.
    """
    kind = fields.get("rope_type", "default")
    if kind not in ("default", "linear"):
        raise ValueError(
            f"config.json asks for rope_type={kind!r}; known are 'default' "
            "and 'linear'."
        )
    factor = fields.get("factor", 1.0) if kind == "linear" else 1.0
    return RopeConfig(fields["rope_theta"], factor, **changes)


def text(fields: Mapping[str, Any], **changes) -> TransformerConfig:
    """The decoder, from `text_config`.

    Args:
      fields: as transformers completes them.
      changes: fields of TransformerConfig that differ in a family.

    Raises:
      ValueError: a decoder that is not among ours.
    """
    kind, depth = fields["model_type"], fields["num_hidden_layers"]
    if not kind.startswith(DECODERS):
        raise ValueError(
            f"config.json asks for the language model {kind!r}; known are "
            f"{', '.join(DECODERS)}."
        )
    heads = fields["num_attention_heads"]
    head_dim = fields.get("head_dim") or fields["hidden_size"] // heads
    window = fields.get("sliding_window") or 0
    layers = fields.get("layer_types")
    if layers is None:
        layers = ["sliding_attention" if window else "full_attention"] * depth
    local = tuple(layer == "sliding_attention" for layer in layers)
    qwen2 = kind.startswith("qwen2")
    base = {
        "width": fields["hidden_size"],
        "depth": depth,
        "heads": heads,
        "kv_heads": fields.get("num_key_value_heads") or heads,
        "head_dim": head_dim,
        "mlp_width": fields["intermediate_size"],
        "norm_eps": fields["rms_norm_eps"],
        "activation": activation(fields["hidden_act"]),
        "qkv_bias": qwen2 or bool(fields.get("attention_bias")),
        "out_bias": not qwen2 and bool(fields.get("attention_bias")),
        "mlp_bias": bool(fields.get("mlp_bias")),
        "qk_norm": kind.startswith("qwen3"),
        "local": local if any(local) else (),
        "window": window if any(local) else 0,
    }
    if "rope" not in changes:
        base["rope"] = rope(fields["rope_parameters"])
    return TransformerConfig(**{**base, **changes})


def clip(
    fields: Mapping[str, Any], depth: int, final_norm: bool
) -> VisionConfig:
    """The tower of CLIP or SigLIP, from `vision_config`.

    Args:
      fields: as transformers completes them.
      depth: blocks that are computed. final_norm: whether the last norm is.

    Raises:
      ValueError: another tower.
    """
    kind = fields["model_type"]
    if "clip" not in kind and not kind.startswith(
        ("siglip", "idefics3", "smolvlm")
    ):
        raise ValueError(
            f"config.json asks for the vision tower {kind!r}, which is not "
            "known: docs/checkpoints.md lists what is."
        )
    is_clip = kind.startswith("clip")
    heads = fields["num_attention_heads"]
    encoder = TransformerConfig(
        width=fields["hidden_size"],
        depth=depth,
        heads=heads,
        kv_heads=heads,
        head_dim=fields["hidden_size"] // heads,
        mlp_width=fields["intermediate_size"],
        norm="layernorm",
        norm_eps=fields["layer_norm_eps"],
        activation=activation(fields["hidden_act"]),
        gated=False,
        qkv_bias=True,
        out_bias=True,
        mlp_bias=True,
        final_norm=final_norm,
        rope=None,
    )
    return VisionConfig(
        image_size=fields["image_size"],
        patch_size=fields["patch_size"],
        encoder=encoder,
        class_token=is_clip,
        patch_bias=not is_clip,
        pre_norm=is_clip,
    )


def used_depth(fields: Mapping[str, Any], layer: int) -> int:
    """Blocks behind hidden state `layer`, counted as transformers does.

    Args:
      fields: `vision_config`. layer: 0 is before the first block; negative
        counts from the last.

    Raises:
      ValueError: there are several.
    """
    if not isinstance(layer, int):
        raise ValueError(
            f"config.json has vision_feature_layer={layer!r}; expected one "
            "number: features of several blocks are not supported."
        )
    depth = fields["num_hidden_layers"]
    return layer if layer >= 0 else depth + 1 + layer
