"""Architecture as data: every choice that tells one VLM from another."""

import dataclasses
import typing
from typing import Any

import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class RopeConfig:
    """Rotary embedding of positions with one axis or several.

    Attributes:
      theta: base of the frequencies.
      factor: positions are divided by it (linear scaling).
      sections: frequencies that each axis of the position rotates, such as
        (time, height, width); empty where a position is one number.
      layout: how axes share the frequencies: "chunked", each takes its section
        in turn; "interleaved", they alternate until a section is used up;
        "axial", each section has the whole range of frequencies for itself.
    """

    theta: float = 10_000.0
    factor: float = 1.0
    sections: tuple[int, ...] = ()
    layout: str = "chunked"

    @property
    def axes(self) -> int:
        """Numbers in a position, A."""
        return max(len(self.sections), 1)


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
      norm: "rmsnorm", "layernorm", or "rmsnorm_offset", whose weights are kept
        as their difference from 1.
      norm_eps: added to the variance.
      activation: "gelu", "gelu_tanh", "quick_gelu", "silu" or "relu".
      gated: feed-forward as act(gate) * up (SwiGLU, GeGLU) instead of act(up).
      qkv_bias, out_bias, mlp_bias: whether those projections have a bias.
      qk_norm: whether queries and keys are normalised per head.
      post_norms: whether what a block adds is normalised too.
      final_norm: whether the stack ends in a norm.
      scale: of the attention scores; None for head_dim ** -0.5.
      rope: rotary embedding; None for none.
      local: per block, whether it attends only nearby; empty for none. What
        is near is the caller's mask.
      local_rope: of the local blocks, if another.
      window: tokens, itself included, that a local block of a decoder sees.
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
    post_norms: bool = False
    final_norm: bool = True
    scale: float | None = None
    rope: RopeConfig | None = RopeConfig()
    local: tuple[bool, ...] = ()
    local_rope: RopeConfig | None = None
    window: int = 0

    def __post_init__(self):
        if len(self.local) not in (0, self.depth):
            raise ValueError(
                f"local has {len(self.local)} entries for {self.depth} blocks: "
                "give one per block, or none."
            )
        if self.kv_heads < 1 or self.heads % self.kv_heads:
            raise ValueError(
                f"heads={self.heads} is no multiple of kv_heads="
                f"{self.kv_heads}: each key head serves a whole group. "
                "Take kv_heads that divides heads."
            )


@dataclasses.dataclass(frozen=True)
class VisionConfig:
    """A vision transformer over patches; see `vision.Patches`.

    Attributes:
      image_size: side of the square images that games are played with, pixels.
      patch_size: side of a patch, pixels.
      encoder: the blocks; attention is bidirectional.
      frames: times that a still image is repeated in a patch.
      positions: rows of the learned table of positions; None for one per
        patch of a square image, 0 for no table.
      interpolate: whether the table is a square that is stretched over the
        image, instead of one row per patch.
      class_token: whether a token that is no patch stands first; its output
        is dropped.
      patch_bias: whether the patch projection has a bias.
      pre_norm: whether the stream is normalised before the first block.
      window: side of the square that local blocks see, patches.
      deep: blocks whose output is handed to the decoder's first blocks as
        well (DeepStack, arXiv 2406.04334).
      mean, std: per-channel normalisation of pixels in [0, 1].
    """

    image_size: int
    patch_size: int
    encoder: TransformerConfig
    frames: int = 1
    positions: int | None = None
    interpolate: bool = False
    class_token: bool = False
    patch_bias: bool = True
    pre_norm: bool = False
    window: int = 0
    deep: tuple[int, ...] = ()
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    @property
    def grid(self) -> int:
        """Patches along one side."""
        return self.image_size // self.patch_size

    @property
    def table(self) -> int:
        """Rows of the table of positions."""
        if self.positions is None:
            return self.grid**2 + self.class_token
        return self.positions


@dataclasses.dataclass(frozen=True)
class ConnectorConfig:
    """Patch features to decoder inputs.

    Attributes:
      fold: side of the square of patches that become one image token; 1 keeps
        every patch.
      pool: "concat", the square's features side by side (pixel shuffle), or
        "mean".
      norm: of TransformerConfig, or None for no norm; norm_eps is its.
      norm_folded: whether the norm is over the folded features.
      hidden: width of the MLP's hidden layer; 0 for one linear map.
      activation: as in TransformerConfig.
      bias: whether the linear maps have one.
    """

    fold: int = 1
    pool: str = "concat"
    norm: str | None = None
    norm_eps: float = 1e-6
    norm_folded: bool = False
    hidden: int = 0
    activation: str = "gelu"
    bias: bool = True


@dataclasses.dataclass(frozen=True)
class VLMConfig:
    """A vision-language model.

    Attributes:
      vocab_size: V.
      vision, connector, decoder: the three parts.
      deep_connector: of the features in `vision.deep`.
      tie_embeddings: logits read the embedding table.
      embed_scale: token embeddings are multiplied by this.
      image_token_id: the placeholder that each image token stands on; never
        sampled.
      image_attention: "causal", or "bidirectional" among the tokens of one
        image.
      newline: whether the model has a learned token that ends a row of
        patches.
      dtype: computation dtype, "float32" or "bfloat16"; params keep theirs.
      remat: whether gradients compute each block anew instead of keeping all
        that it computed: less memory, about a third more time.
    """

    vocab_size: int
    vision: VisionConfig
    connector: ConnectorConfig
    decoder: TransformerConfig
    image_token_id: int
    tie_embeddings: bool = True
    embed_scale: float = 1.0
    deep_connector: ConnectorConfig | None = None
    image_attention: str = "causal"
    newline: bool = False
    dtype: str = "float32"
    remat: bool = False

    @property
    def tokens_per_image(self) -> int:
        """Image tokens that one image takes in the text, T."""
        return (self.vision.grid // self.connector.fold) ** 2

    @property
    def axes(self) -> int:
        """Numbers in a token's rotary position, A."""
        rope = self.decoder.rope
        return 1 if rope is None else rope.axes

    @property
    def image_token_width(self) -> int:
        """Size of an image token, DeepStack's features included."""
        return self.decoder.width * (1 + len(self.vision.deep))

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
          TypeError: a field is unknown, missing or ill-typed; the message
            names it.
          ValueError: fields do not agree.
        """
        return _build(cls, fields)


_PARTS = {
    "vision": VisionConfig,
    "encoder": TransformerConfig,
    "decoder": TransformerConfig,
    "connector": ConnectorConfig,
    "deep_connector": ConnectorConfig,
    "rope": RopeConfig,
    "local_rope": RopeConfig,
}


def _build(kind, fields: dict[str, Any]):
    """A config of class `kind` from a dict as JSON keeps it."""
    values, hints = {}, typing.get_type_hints(kind)
    for name, value in fields.items():
        if isinstance(value, dict) and name in _PARTS:
            value = _build(_PARTS[name], value)
        elif isinstance(value, list):
            value = tuple(value)
        if name in hints and not _fits(value, hints[name]):
            raise TypeError(
                f"{kind.__name__}.{name}: expected {hints[name]}, found "
                f"{str(value)[:60]!r}"
            )
        values[name] = value
    return kind(**values)


def _fits(value, kind) -> bool:
    """Whether a value is of a field's type; no number may be below 0."""
    inner = typing.get_args(kind)
    if typing.get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(
            _fits(x, inner[0]) for x in value
        )
    if inner:  # a union
        return any(_fits(value, k) for k in inner)
    if kind in (int, float):
        numbers = (int,) if kind is int else (int, float)
        return type(value) in numbers and value >= 0
    return type(value) is kind
