"""Which params are trained: all, all but some parts, or adapters alone.

trained, frozen = begin(params)     optimizer and gradients know `trained`
params = assemble(frozen, trained)  what the model computes with
params = finish(mesh, params, trained)
"""

import dataclasses
import functools

import flax.traverse_util
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from vlm_games.models.mesh import shardings
from vlm_games.models.vlm import Params
from vlm_games.training import lora


@dataclasses.dataclass(frozen=True)
class Trainable:
    """A choice of params.

    Attributes:
      adapters: if any, these are trained and all else is frozen.
      frozen: parts of the model that stay as they are: "vision", "connector",
        "decoder", or the name of another param at the top.
    """

    adapters: lora.LoraConfig | None = None
    frozen: tuple[str, ...] = ()

    def begin(self, params: Params, key: jax.Array):
        """(what is trained, the rest, or None if there is none).

        Raises:
          ValueError: the model has no part of a name in `frozen`.
        """
        parts = {lora.part_of(path) for path in _flat(params)}
        if unknown := set(self.frozen) - parts:
            raise ValueError(
                f"config.train.frozen names {', '.join(sorted(unknown))}; the "
                f"parts of this model are {', '.join(sorted(parts))}: name "
                "some of these."
            )
        if self.adapters is not None:
            return lora.init(self._adapters(self.adapters), params, key), params
        if not self.frozen:
            return params, None
        return self._split(params)

    def assemble(self, frozen, trained) -> Params:
        """The model's params, of both."""
        if self.adapters is not None:
            return lora.attach(self._adapters(self.adapters), frozen, trained)
        if not self.frozen:
            return trained
        return _nested(_flat(frozen) | _flat(trained))

    def finish(self, mesh: Mesh, params: Params, trained) -> Params:
        """The whole model after training; `params` are those it began with."""
        if self.adapters is not None:
            merge = jax.jit(
                functools.partial(lora.merge, self._adapters(self.adapters)),
                out_shardings=shardings(mesh, params),
            )
            return merge(params, trained)
        if not self.frozen:
            return trained
        # Frozen parts are copied: the caller may give its params away.
        rest = jax.tree.map(jnp.copy, self._split(params)[1])
        return self.assemble(rest, trained)

    def _adapters(self, adapters: lora.LoraConfig) -> lora.LoraConfig:
        parts = tuple(p for p in adapters.parts if p not in self.frozen)
        return dataclasses.replace(adapters, parts=parts)

    def _split(self, params: Params):
        flat = _flat(params)
        still = {p for p in flat if lora.part_of(p) in self.frozen}
        return (
            _nested({p: x for p, x in flat.items() if p not in still}),
            _nested({p: x for p, x in flat.items() if p in still}),
        )


def _flat(params: Params) -> dict[str, jax.Array]:
    return flax.traverse_util.flatten_dict(params, sep=".")


def _nested(flat: dict[str, jax.Array]) -> Params:
    return flax.traverse_util.unflatten_dict(flat, sep=".")
