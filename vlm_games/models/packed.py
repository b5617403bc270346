"""The model over packed rows: who may attend to whom, and log-probabilities.

A batch is anything with the arrays of `data.packing.Batch`:

    segment   1 1 1 1 1 1 1 1   2 2 2 2 2   0 0      0 is padding
    branch    0 0 0 1 1 1 2 2   0 0 0 1 1   0 0      0 is the trunk
    position  0 1 2 3 4 5 3 4   0 1 2 3 4   0 0      branches restart
"""

import jax
import jax.numpy as jnp

from vlm_games.models import vlm
from vlm_games.models.config import VLMConfig


def attention_mask(segments_BxL, branches_BxL):
    """bool [B, L, L]: [b, i, j] says that token i may attend to token j.

    j comes no later than i, in the same segment, and in the trunk or in the
    same branch.
    """
    same = segments_BxL[:, :, None] == segments_BxL[:, None, :]
    shared = (branches_BxL[:, None, :] == 0) | (
        branches_BxL[:, :, None] == branches_BxL[:, None, :]
    )
    length = segments_BxL.shape[1]
    causal = jnp.tril(jnp.ones((length, length), bool))
    return same & shared & causal[None]


def token_logits(config: VLMConfig, params, batch, image_tokens_MxD):
    """float32 [B, L - 1, V]: logits that predict tokens 1..L-1 of each row.

    The image token's logit is out of the running: it is never sampled, so it
    takes no share of the probability.
    """
    hidden = vlm.forward(
        config,
        params,
        batch.tokens,
        batch.image_slots,
        image_tokens_MxD,
        batch.positions,
        attention_mask(batch.segments, batch.branches),
    )
    logits = vlm.unembed(config, params, hidden[:, :-1])
    return logits.at[..., config.image_token_id].set(-1e9)


def token_log_probs(config: VLMConfig, params, batch, image_tokens_MxD):
    """Log-probability of every token given what it may see.

    Returns:
      (float32 [B, L - 1] log-probabilities of tokens 1..L-1 of each row,
      bool [B, L - 1], whether the model's first choice is that token).
    """
    logits = token_logits(config, params, batch, image_tokens_MxD)
    targets = batch.tokens[:, 1:]
    log_probs = jax.nn.log_softmax(logits)
    chosen = jnp.take_along_axis(log_probs, targets[..., None], axis=-1)
    return chosen[..., 0], jnp.argmax(logits, axis=-1) == targets
