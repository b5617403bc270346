"""Losses: pure functions of (params, batch, pixels).

Each gives (loss sum, totals): totals["weight"] is what to divide the sums by
for means; every other total is a sum over the same things as the loss. Sums of
shards and of micro-batches therefore add up.

`pixels` may be uint8 [0, H, W, 3] for text alone: no vision tower is run then,
and neither it nor the connector gets a gradient.
"""

import jax
import jax.numpy as jnp

from vlm_games.data.packing import Batch
from vlm_games.models import vlm
from vlm_games.models.config import VLMConfig
from vlm_games.models.packed import token_log_probs

CHOSEN, REJECTED = 1, 2  # branches of an example that is a pair


def cross_entropy(config: VLMConfig, params, batch: Batch, pixels):
    """Weighted sum of -log p over the learned tokens.

    Args:
      batch: packed rows.
      pixels: uint8 [M, H, W, 3], the images of its slots.

    Returns:
      (loss sum, {"weight": sum of weights, "accuracy": weighted number of
      first choices that are right}).
    """
    images = _image_tokens(config, params, pixels)
    log_probs, correct = token_log_probs(config, params, batch, images)
    weights = batch.weights[:, 1:]
    totals = {
        "weight": jnp.sum(weights),
        "accuracy": jnp.sum(weights * correct),
    }
    return -jnp.sum(weights * log_probs), totals


def preference(
    config: VLMConfig,
    params,
    batch: Batch,
    pixels,
    *,
    beta: float,
    alpha: float,
):
    """STIC's regularised DPO over pairs (arXiv 2405.19716).

    A pair is an example with learned words (weight above 0) in branch 1, the
    chosen response w, and in branch 2, the rejected response l; other examples
    count for nothing. log p is summed over a response's learned words, which
    all weigh the same, log p_ref is `batch.reference`:

        reward(y) = beta * (log p(y) - log p_ref(y))
        loss      = softplus(-(reward(w) - reward(l))) - alpha * log p(w)

    With beta = 0 nothing is compared: the first term is log 2 and has no
    gradient, which is learning of the chosen response alone; rewards, margin
    and accuracy are then 0. With alpha = 0 it is DPO (arXiv 2305.18290).

    Args:
      batch: packed rows.
      pixels: uint8 [M, H, W, 3], the images of its slots.
      beta: how much the rewards count. alpha: of the positive term.

    Returns:
      (loss sum, totals) over the pairs: "weight", the number of them;
      "accuracy", of those whose margin is above 0; "reward_chosen";
      "reward_rejected"; "margin", their difference.
    """
    images = _image_tokens(config, params, pixels)
    log_probs, _ = token_log_probs(config, params, batch, images)
    is_chosen, chosen, chosen_reference = _sums(batch, CHOSEN, log_probs)
    is_rejected, rejected, reference = _sums(batch, REJECTED, log_probs)
    pair = is_chosen & is_rejected
    reward_chosen = beta * (chosen - chosen_reference)
    reward_rejected = beta * (rejected - reference)
    margin = reward_chosen - reward_rejected
    loss = jax.nn.softplus(-margin) - alpha * chosen

    def total(values):
        return jnp.sum(jnp.where(pair, values, 0.0))

    return total(loss), {
        "weight": total(1.0),
        "accuracy": total(margin > 0),
        "reward_chosen": total(reward_chosen),
        "reward_rejected": total(reward_rejected),
        "margin": total(margin),
    }


def _image_tokens(config: VLMConfig, params, pixels):
    """[M * T, D]; of text alone the vision tower is not run."""
    if not len(pixels):
        return vlm.no_image_tokens(config)
    images = vlm.encode_images(config, params, pixels)
    return images.reshape(-1, images.shape[-1])


def _sums(batch: Batch, branch: int, log_probs):
    """Sums over the learned words of one branch of every example.

    Args:
      log_probs: float [B, L - 1], of tokens 1..L-1, as in `token_log_probs`.

    Returns:
      (whether there are such words, sum of log_probs, the reference), each
      [B, L - 1]: column s is of segment s + 1.
    """
    learned = (batch.weights > 0) & (batch.branches == branch)
    # No learned word is at place 0, so a row has fewer than L segments of
    # interest. A masked sum, not a scatter: its order is always the same.
    segments = jnp.arange(1, batch.segments.shape[1])
    here = (learned[..., None] & (batch.segments[..., None] == segments))[:, 1:]

    def total(values):
        return jnp.sum(jnp.where(here, values[..., None], 0.0), axis=1)

    return here.any(axis=1), total(log_probs), total(batch.reference[:, 1:])
