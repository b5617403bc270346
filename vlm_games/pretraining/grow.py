"""A base's params for a model of more words, or of larger pixels."""

import dataclasses

import jax
import jax.numpy as jnp

from vlm_games.models.config import VLMConfig
from vlm_games.models.vlm import Params

NEW_WORDS = 0.05  # standard deviation of their embeddings


def grow(
    params: Params, old: VLMConfig, new: VLMConfig, key: jax.Array
) -> Params:
    """Params that do in `new` what they did in `old`.

    Words that `old` knows keep their ids. A patch of `new` has as many times
    the pixels of one of `old` on a side as the image has: an enlarged image
    is seen as the image was.

    Raises:
      ValueError: the models differ by anything else.
    """
    scale = new.vision.image_size // old.vision.image_size
    more = new.vocab_size - old.vocab_size
    alike = dataclasses.replace(
        old,
        vocab_size=new.vocab_size,
        vision=dataclasses.replace(
            old.vision,
            image_size=old.vision.image_size * scale,
            patch_size=old.vision.patch_size * scale,
        ),
    )
    if alike != new or more < 0:
        raise ValueError(
            "config.start names a base that differs from config.model by more "
            "than new words and a larger image of as many patches: take its "
            "widths, depths and heads, and image_size and patch_size times "
            "the same whole number."
        )
    words = params["embed"]["embedding"]
    drawn = NEW_WORDS * jax.random.normal(key, (more, words.shape[1]))
    embed = {"embedding": jnp.concatenate([words, drawn.astype(words.dtype)])}
    side, patches = old.vision.patch_size, params["vision"]["patches"]
    kernel = patches["kernel"].reshape(side, side, 3, -1)
    for axis in (0, 1):
        kernel = kernel.repeat(scale, axis) / scale
    kernel = kernel.reshape(-1, kernel.shape[-1])
    vision = params["vision"] | {"patches": patches | {"kernel": kernel}}
    return params | {"embed": embed, "vision": vision}
