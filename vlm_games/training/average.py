"""Params between those that were trained and the base's, against forgetting.

Whatever a round learned is drawn back to the base by a share. What later rounds
teach again adds up, what only one of them taught fades: WiSE-FT
(arXiv 2109.01903), once a round.
"""

import jax
import jax.numpy as jnp


@jax.jit
def toward_base(params, base, share: float):
    """Pytree of the means, each of the dtype of `params`.

    Args:
      params, base: pytrees of equal shapes.
      share: of the base, from 0 to 1.

    Examples:
      >>> toward_base({"w": jnp.ones(2)}, {"w": jnp.zeros(2)}, 0.25)["w"]
      Array([0.75, 0.75], dtype=float32)
    """

    def mean(trained: jax.Array, old: jax.Array) -> jax.Array:
        # So written, what was not trained stays bit for bit.
        start = trained.astype(jnp.float32)
        found = start + share * (old.astype(jnp.float32) - start)
        return found.astype(trained.dtype)

    return jax.tree.map(mean, params, base)
