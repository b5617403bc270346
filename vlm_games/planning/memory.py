"""Bytes on one device: of arrays, exactly, and of computing, estimated.

Of a block that gives t tokens the sight of s keys, with D its width, H query
heads and G key heads of size K, M the width of the feed-forward layer, and b
bytes a number of the computation dtype:

    read      t * (b (4 D + 2 H K + 2 G K + 3 M) + (4 + 2 b) H s)
    learn     t * (b (2 D + 2 H K + 2 G K + 6 M) + 32 D + (9 + b) H s)

The first is all that it computes, at once; the second what JAX keeps of it for
the way back: norms in float32, and of the attention its softmax twice in
float32, once in the computation dtype, and a mask. (2 M and 4 M where the
feed-forward layer is not gated.) XLA fuses some of it away: rather too much
than too little. Where `tensor` devices share a model, H, G and M are what one
of them holds.
"""

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from vlm_games.models import mesh
from vlm_games.models.config import TransformerConfig, VLMConfig
from vlm_games.sampling.session import init_session

FLOAT32 = 4  # bytes


def tree_bytes(tree, axes: Mapping[str, int] | None = None) -> int:
    """Of all arrays, or shapes, of a pytree of params or of optimizer state.

    Args:
      axes: sizes of the mesh's axes, such as {"tensor": 4}; others are 1.

    Raises:
      ValueError: a param does not split over so many devices.
    """
    axes = axes or {}

    def size(path, x):
        spec = mesh.param_spec(mesh.dotted(path), x.shape, axes)
        parts = math.prod(axes[name] for name in spec if name)
        return x.size * jnp.dtype(x.dtype).itemsize // parts

    sizes = jax.tree_util.tree_map_with_path(size, tree)
    return sum(jax.tree.leaves(sizes))


def session_bytes(
    model: VLMConfig, rows: int, capacity: int, tensor: int = 1
) -> int:
    """Of a session: its cache and the next token's logits."""
    found = jax.eval_shape(lambda: init_session(model, rows, capacity))
    keys_and_values = tree_bytes(found.cache.layers)
    return tree_bytes(found) - keys_and_values + keys_and_values // tensor


def bank_bytes(model: VLMConfig, images: int) -> int:
    """Of the image tokens of so many images."""
    tokens = images * model.tokens_per_image
    return tokens * model.image_token_width * model.compute_dtype.itemsize


def read_block(
    config: TransformerConfig, dtype, tokens: int, keys: int, tensor: int = 1
) -> int:
    """What one block computes; see above.

    Args:
      dtype: of computation. tokens: of all rows. keys: that each attends to.
      tensor: devices that share a model.
    """
    c, b = config, jnp.dtype(dtype).itemsize
    inner = 2 * (c.heads + c.kv_heads) * c.head_dim
    inner = b * (inner + (3 if c.gated else 2) * c.mlp_width)
    inner += (FLOAT32 + 2 * b) * c.heads * keys
    return tokens * (4 * b * c.width + inner // tensor)


def learn_block(
    config: TransformerConfig, dtype, tokens: int, keys: int, tensor: int = 1
) -> int:
    """What one block keeps for its gradients; see above and `read_block`."""
    c, b = config, jnp.dtype(dtype).itemsize
    inner = 2 * (c.heads + c.kv_heads) * c.head_dim
    inner = b * (inner + (6 if c.gated else 4) * c.mlp_width)
    inner += (2 * FLOAT32 + 1 + b) * c.heads * keys
    return tokens * ((2 * b + 8 * FLOAT32) * c.width + inner // tensor)


def logits_bytes(
    model: VLMConfig, tokens: int, copies: int, tensor: int = 1
) -> int:
    """Of `copies` of float32 logits, split by the vocabulary."""
    return copies * FLOAT32 * tokens * model.vocab_size // tensor


def encode_bytes(model: VLMConfig, images: int, tensor: int = 1) -> int:
    """One block of the vision tower, for so many images at once."""
    encoder, patches = model.vision.encoder, tower_tokens(model)
    dtype = model.compute_dtype
    return read_block(encoder, dtype, images * patches, patches, tensor)


def tower_tokens(model: VLMConfig) -> int:
    """Tokens of one image within the vision tower."""
    return model.vision.grid**2 + model.vision.class_token


def score_bytes(
    model: VLMConfig, rows: int, length: int, tensor: int = 1
) -> int:
    """Log-probabilities of all words of a batch: a block, or logits twice."""
    tokens, dtype = rows * length, model.compute_dtype
    block = read_block(model.decoder, dtype, tokens, length, tensor)
    return max(block, logits_bytes(model, tokens, 2, tensor))


def train_bytes(
    model: VLMConfig,
    rows: int,
    length: int,
    images: int,
    vision: bool,
    tensor: int = 1,
) -> int:
    """Activations of one micro-batch; gradients of params are left out.

    Kept for the way back is what every block needs, or with `model.remat` only
    the stream that enters it. On top of that comes one block on its way back,
    or the logits, their softmax and its gradient, whichever is more.

    Args:
      images: of all rows. vision: whether the vision tower gets gradients.
      tensor: devices that share a model.
    """
    dtype, patches = model.compute_dtype, tower_tokens(model)

    def stack(config, tokens, keys):
        """(all that is kept, one block)."""
        block = learn_block(config, dtype, tokens, keys, tensor)
        stream = tokens * config.width * dtype.itemsize
        return config.depth * (stream if model.remat else block), block

    kept, block = stack(model.decoder, rows * length, length)
    logits = logits_bytes(model, rows * length, 3, tensor)
    seen, way = 0, encode_bytes(model, images, tensor)
    if vision:
        seen, way = stack(model.vision.encoder, images * patches, patches)
    return max(seen + kept + max(block, logits), seen + way)
