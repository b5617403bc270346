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
than too little.
"""

import jax
import jax.numpy as jnp

from vlm_games.models.config import TransformerConfig, VLMConfig
from vlm_games.sampling.session import init_session

FLOAT32 = 4  # bytes


def tree_bytes(tree) -> int:
    """Of all arrays, or shapes, of a pytree."""
    leaves = jax.tree.leaves(tree)
    return sum(x.size * jnp.dtype(x.dtype).itemsize for x in leaves)


def session_bytes(model: VLMConfig, rows: int, capacity: int) -> int:
    """Of a session: its cache and the next token's logits."""
    return tree_bytes(
        jax.eval_shape(lambda: init_session(model, rows, capacity))
    )


def bank_bytes(model: VLMConfig, images: int) -> int:
    """Of the image tokens of so many images."""
    tokens = images * model.tokens_per_image
    return tokens * model.image_token_width * model.compute_dtype.itemsize


def read_block(config: TransformerConfig, dtype, tokens: int, keys: int) -> int:
    """What one block computes; see above.

    Args:
      dtype: of computation. tokens: of all rows. keys: that each attends to.
    """
    c, b = config, jnp.dtype(dtype).itemsize
    heads = 2 * (c.heads + c.kv_heads) * c.head_dim
    wide = b * (4 * c.width + heads + (3 if c.gated else 2) * c.mlp_width)
    return tokens * (wide + (FLOAT32 + 2 * b) * c.heads * keys)


def learn_block(
    config: TransformerConfig, dtype, tokens: int, keys: int
) -> int:
    """What one block keeps for its gradients; see above."""
    c, b = config, jnp.dtype(dtype).itemsize
    heads = 2 * (c.heads + c.kv_heads) * c.head_dim
    wide = b * (2 * c.width + heads + (6 if c.gated else 4) * c.mlp_width)
    wide += 8 * FLOAT32 * c.width
    return tokens * (wide + (2 * FLOAT32 + 1 + b) * c.heads * keys)


def logits_bytes(model: VLMConfig, tokens: int, copies: int) -> int:
    """Of `copies` of float32 logits."""
    return copies * FLOAT32 * tokens * model.vocab_size


def encode_bytes(model: VLMConfig, images: int) -> int:
    """One block of the vision tower, for so many images at once."""
    encoder, patches = model.vision.encoder, tower_tokens(model)
    dtype = model.compute_dtype
    return read_block(encoder, dtype, images * patches, patches)


def tower_tokens(model: VLMConfig) -> int:
    """Tokens of one image within the vision tower."""
    return model.vision.grid**2 + model.vision.class_token


def score_bytes(model: VLMConfig, rows: int, length: int) -> int:
    """Log-probabilities of all words of a batch: a block, or logits twice."""
    tokens, dtype = rows * length, model.compute_dtype
    block = read_block(model.decoder, dtype, tokens, length)
    return max(block, logits_bytes(model, tokens, 2))


def train_bytes(
    model: VLMConfig, rows: int, length: int, images: int, vision: bool
) -> int:
    """Activations of one micro-batch; gradients of params are left out.

    Kept for the way back is what every block needs, or with `model.remat` only
    the stream that enters it. On top of that comes one block on its way back,
    or the logits, their softmax and its gradient, whichever is more.

    Args:
      images: of all rows. vision: whether the vision tower gets gradients.
    """
    dtype, patches = model.compute_dtype, tower_tokens(model)

    def stack(config, tokens, keys):
        """(all that is kept, one block)."""
        block = learn_block(config, dtype, tokens, keys)
        stream = tokens * config.width * dtype.itemsize
        return config.depth * (stream if model.remat else block), block

    kept, block = stack(model.decoder, rows * length, length)
    logits = logits_bytes(model, rows * length, 3)
    seen, way = 0, encode_bytes(model, images)
    if vision:
        seen, way = stack(model.vision.encoder, images * patches, patches)
    return max(seen + kept + max(block, logits), seen + way)
