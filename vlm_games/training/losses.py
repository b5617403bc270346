"""Losses: pure functions of (params, batch, pixels)."""

import jax.numpy as jnp

from vlm_games.data.packing import Batch
from vlm_games.models import vlm
from vlm_games.models.config import VLMConfig
from vlm_games.models.packed import token_log_probs


def cross_entropy(config: VLMConfig, params, batch: Batch, pixels):
    """Weighted sum of -log p over the learned tokens.

    Args:
      batch: packed rows.
      pixels: uint8 [M, H, W, 3], the images of its slots.

    Returns:
      (loss sum, {"weight": sum of weights, "correct": weighted number of
      first choices that are right}); divide by the weight for means.
    """
    images = vlm.encode_images(config, params, pixels)
    images = images.reshape(-1, images.shape[-1])
    log_probs, correct = token_log_probs(config, params, batch, images)
    weights = batch.weights[:, 1:]
    totals = {
        "weight": jnp.sum(weights),
        "correct": jnp.sum(weights * correct),
    }
    return -jnp.sum(weights * log_probs), totals
