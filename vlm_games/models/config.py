"""Architecture as data: every choice that tells one VLM from another."""

import dataclasses
from typing import Any

import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
    """One stack of transformer blocks, as an encoder or a decoder.

    Attributes:
      width: size of the residual stream, D.
      depth: number of blocks.
      heads: query heads, H.
      kv_heads: key and value heads; fewer than `heads` is grouped-query
        attention.
      head_dim: size of a head, K.
      mlp_width: hidden size of the feed-forward layer.
      norm: "rmsnorm" or "layernorm".
      norm_eps: added to the variance.
      activation: "gelu", "gelu_tanh", "quick_gelu", "silu" or "relu".
      gated: feed-forward as act(gate) * up (SwiGLU, GeGLU) instead of act(up).
      qkv_bias, out_bias, mlp_bias: whether those projections have a bias.
      qk_norm: whether queries and keys are normalised per head.
      rope_theta: base of the rotary embedding; None for no rotary embedding.
    """

    width: int
    depth: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp_width: int
    norm: str = "rmsnorm"
    norm_eps: float = 1e-6
    activation: str = "silu"
    gated: bool = True
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    rope_theta: float | None = 10_000.0

    def __post_init__(self):
        if self.heads % self.kv_heads:
            raise ValueError(
                f"heads={self.heads} is no multiple of kv_heads="
                f"{self.kv_heads}: each key head serves a whole group."
            )


@dataclasses.dataclass(frozen=True)
class VisionConfig:
    """A vision transformer over square images.

    Attributes:
      image_size: side of the square input, pixels.
      patch_size: side of a patch, pixels.
      encoder: the blocks; attention is bidirectional.
      mean, std: per-channel normalisation of pixels in [0, 1].
    """

    image_size: int
    patch_size: int
    encoder: TransformerConfig
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    @property
    def grid(self) -> int:
        """Patches along one side."""
        return self.image_size // self.patch_size


@dataclasses.dataclass(frozen=True)
class ConnectorConfig:
    """Patch features to decoder inputs.

    Attributes:
      shuffle: side of the square of patches folded into one image token
        (pixel shuffle); 1 keeps every patch.
      hidden: width of the MLP's hidden layer.
      activation: as in TransformerConfig.
    """

    shuffle: int = 1
    hidden: int = 0
    activation: str = "gelu"


@dataclasses.dataclass(frozen=True)
class VLMConfig:
    """A vision-language model.

    Attributes:
      vocab_size: V.
      vision, connector, decoder: the three parts.
      tie_embeddings: logits read the embedding table.
      embed_scale: token embeddings are multiplied by this.
      image_token_id: the placeholder that each image token stands on; never
        sampled.
      dtype: computation dtype, "float32" or "bfloat16"; params keep theirs.
    """

    vocab_size: int
    vision: VisionConfig
    connector: ConnectorConfig
    decoder: TransformerConfig
    image_token_id: int
    tie_embeddings: bool = True
    embed_scale: float = 1.0
    dtype: str = "float32"

    @property
    def tokens_per_image(self) -> int:
        """Image tokens that one image takes in the text, T."""
        return (self.vision.grid // self.connector.shuffle) ** 2

    @property
    def compute_dtype(self):
        return jnp.dtype(self.dtype)

    def to_dict(self) -> dict[str, Any]:
        """Nested plain dict, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "VLMConfig":
        """Inverse of `to_dict`.

        Raises:
          TypeError: a field is unknown or missing; the message names it.
        """
        vision = dict(fields["vision"])
        vision["encoder"] = TransformerConfig(**vision["encoder"])
        vision["mean"] = tuple(vision["mean"])
        vision["std"] = tuple(vision["std"])
        parts = {
            "vision": VisionConfig(**vision),
            "connector": ConnectorConfig(**fields["connector"]),
            "decoder": TransformerConfig(**fields["decoder"]),
        }
        return cls(**{**fields, **parts})
