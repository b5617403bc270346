"""Where each parameter lies in a checkpoint, and how it is laid out there.

    params["decoder"]["block_0"]["attention"]["query"]["kernel"]   [D, H, K]
        = rearrange(file["...q_proj.weight"], "(h k) d -> d h k")

One table serves both ways: loading rearranges from left to right, saving from
right to left.
"""

import dataclasses
from collections.abc import Mapping

import einops
import jax

from vlm_games.models.config import TransformerConfig, VisionConfig


@dataclasses.dataclass(frozen=True)
class Leaf:
    """A parameter's place in the file.

    Attributes:
      name: of the tensor, as `Family.rename` gives it.
      pattern: einops, from the file's layout to ours; empty if they agree.
      sizes: of axes in the pattern.
      part: (k, n): it is the k-th of n equal parts of the tensor's first axis.
    """

    name: str
    pattern: str = ""
    sizes: tuple[tuple[str, int], ...] = ()
    part: tuple[int, int] = (0, 1)

    def to_ours(self, x):
        """From the file's layout; `x` is this leaf's part alone."""
        if not self.pattern:
            return x
        return einops.rearrange(x, self.pattern, **dict(self.sizes))

    def to_file(self, x):
        """Inverse of `to_ours`."""
        if not self.pattern:
            return x
        ours, theirs = reversed(self.pattern.split(" -> "))
        return einops.rearrange(x, f"{ours} -> {theirs}", **dict(self.sizes))

    def file_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the whole tensor in the file, given ours."""
        abstract = jax.ShapeDtypeStruct(shape, "float32")
        found = jax.eval_shape(self.to_file, abstract).shape
        return (found[0] * self.part[1], *found[1:])


Leaves = dict[str, Leaf]  # by path in the params tree, joined by dots


def linear(path: str, name: str, bias: bool = True) -> Leaves:
    """A linear map: torch keeps [out, in], Linen [in, out]."""
    leaves = {f"{path}.kernel": Leaf(f"{name}.weight", "o i -> i o")}
    if bias:
        leaves[f"{path}.bias"] = Leaf(f"{name}.bias")
    return leaves


def norm(path: str, name: str, bias: bool = False) -> Leaves:
    """A norm; `bias` for a layer norm."""
    leaves = {f"{path}.scale": Leaf(f"{name}.weight")}
    if bias:
        leaves[f"{path}.bias"] = Leaf(f"{name}.bias")
    return leaves


def heads(
    path: str, name: str, head_dim: int, bias: bool, part=(0, 1)
) -> Leaves:
    """A projection to heads, perhaps one of several in one tensor."""
    size = (("k", head_dim),)
    leaves = {
        f"{path}.kernel": Leaf(f"{name}.weight", "(h k) d -> d h k", size, part)
    }
    if bias:
        leaves[f"{path}.bias"] = Leaf(
            f"{name}.bias", "(h k) -> h k", size, part
        )
    return leaves


def blocks(
    config: TransformerConfig, path: str, prefix: str, names: Mapping[str, str]
) -> Leaves:
    """All blocks of a stack.

    Args:
      config: of the stack. path: of it in the params tree.
      prefix: of a block's tensors in the file, with {i} for its number.
      names: what the file calls our parts of a block: "query", "key", "value"
        (or one "qkv"), "out", "up", "down", "gate", and the norms by their own
        names ("attention_norm", ...).
    """
    leaves: dict[str, Leaf] = {}
    c = config
    layernorm = c.norm == "layernorm"
    for i in range(c.depth):
        file = {ours: prefix.format(i=i) + x for ours, x in names.items()}
        block = f"{path}.block_{i}"
        for k, part in enumerate(("query", "key", "value")):
            share = (k, 3) if "qkv" in file else (0, 1)
            name = file["qkv" if "qkv" in file else part]
            to = f"{block}.attention.{part}"
            leaves |= heads(to, name, c.head_dim, c.qkv_bias, share)
        leaves[f"{block}.attention.out.kernel"] = Leaf(
            f"{file['out']}.weight", "d (h k) -> h k d", (("k", c.head_dim),)
        )
        if c.out_bias:
            leaves[f"{block}.attention.out.bias"] = Leaf(f"{file['out']}.bias")
        for part in ("up", "down", "gate")[: 3 if c.gated else 2]:
            leaves |= linear(f"{block}.mlp.{part}", file[part], c.mlp_bias)
        for part in ("query_norm", "key_norm")[: 2 * c.qk_norm]:
            to = f"{block}.attention.{part}"
            leaves |= norm(to, file[part], layernorm)
        wanted = ["attention_norm", "mlp_norm"]
        wanted += ["attention_post_norm", "mlp_post_norm"][: 2 * c.post_norms]
        for part in wanted:
            leaves |= norm(f"{block}.{part}", file[part], layernorm)
    return leaves


# A block of the decoders of Llama, Mistral, Qwen and their kin.
LLAMA_BLOCK = {
    "query": "self_attn.q_proj",
    "key": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "out": "self_attn.o_proj",
    "query_norm": "self_attn.q_norm",
    "key_norm": "self_attn.k_norm",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
    "attention_norm": "input_layernorm",
    "mlp_norm": "post_attention_layernorm",
}
# A block of the vision towers of CLIP and SigLIP.
CLIP_BLOCK = {
    "query": "self_attn.q_proj",
    "key": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "out": "self_attn.out_proj",
    "up": "mlp.fc1",
    "down": "mlp.fc2",
    "attention_norm": "layer_norm1",
    "mlp_norm": "layer_norm2",
}


def decoder(
    config: TransformerConfig,
    tie: bool,
    prefix: str,
    head: str,
    block: Mapping[str, str] = LLAMA_BLOCK,
) -> Leaves:
    """Embedding, blocks, norm and head of a decoder.

    Args:
      config: of the decoder. tie: whether the head is the embedding.
      prefix: of the language model in the file, such as "language_model.model."
      head: name of the head in the file. block: see `blocks`.
    """
    leaves = {"embed.embedding": Leaf(f"{prefix}embed_tokens.weight")}
    leaves |= blocks(config, "decoder", prefix + "layers.{i}.", block)
    leaves |= norm("decoder.norm", f"{prefix}norm")
    if not tie:
        leaves |= linear("head", head, bias=False)
    return leaves


def clip_tower(config: VisionConfig, prefix: str) -> Leaves:
    """The vision tower of CLIP or SigLIP, without its last norm and head.

    Args:
      config: of the tower. prefix: such as "vision_tower.".
    """
    embeddings = f"{prefix}embeddings."
    size = (("p", config.patch_size), ("q", config.patch_size))
    leaves = {
        "vision.patches.kernel": Leaf(
            f"{embeddings}patch_embedding.weight", "d c p q -> (p q c) d", size
        ),
        "vision.position": Leaf(f"{embeddings}position_embedding.weight"),
    }
    if config.patch_bias:
        leaves["vision.patches.bias"] = Leaf(
            f"{embeddings}patch_embedding.bias"
        )
    if config.class_token:
        leaves["vision.class"] = Leaf(f"{embeddings}class_embedding")
    if config.pre_norm:
        leaves |= norm("vision.pre_norm", f"{prefix}pre_layrnorm", bias=True)
    encoder = config.encoder
    layers = prefix + "encoder.layers.{i}."
    leaves |= blocks(encoder, "vision.encoder", layers, CLIP_BLOCK)
    if encoder.final_norm:
        last = f"{prefix}post_layernorm"
        leaves |= norm("vision.encoder.norm", last, bias=True)
    return leaves
