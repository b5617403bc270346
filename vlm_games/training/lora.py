"""Low-rank adapters: a small tree that is trained while params stay frozen.

    y = x W + alpha / rank * (x A) B            LoRA, arXiv 2106.09685

    params    {..."query": {"kernel": W [D, H, K]}}                  frozen
    adapters  {..."query": {"kernel_lora_a": A [D, r],
                            "kernel_lora_b": B [r, H * K]}}          trained
    attach(params, adapters)   both in one tree: what the model computes with
    merge(params, adapters)    {..."query": {"kernel": W + alpha / r * A B}}

Gradients and optimizer state belong to the adapters alone. `attach` is what to
train and to play with: it copies no kernel, and the gradients of A and B are
found without one of the size of W. `merge` is for saving a whole model.
"""

import dataclasses
import math
import zlib

import flax.traverse_util
import jax
import jax.numpy as jnp

from vlm_games.models.low_rank import A, B
from vlm_games.models.vlm import Params

PARTS = ("decoder", "connector", "vision")
TARGETS = ("query", "key", "value", "out", "up", "down", "gate")
Adapters = Params  # as params, but with A and B in the place of a kernel


@dataclasses.dataclass(frozen=True)
class LoraConfig:
    """Which kernels have adapters, and of what size.

    Attributes:
      rank: columns of A, r.
      alpha: the adapters' term is multiplied by alpha / rank.
      targets: names of linear maps: of attention "query", "key", "value" and
        "out", of an MLP and of the connector "up", "down" and "gate". Not
        every part has them all.
      parts: of the model, of "decoder", "connector" and "vision".
      draw: of A, "uniform" within in ** -0.5, or "normal" with deviation
        1 / rank: in PEFT `init_lora_weights` True and "gaussian". B is zero.
    """

    rank: int = 16
    alpha: float = 32.0
    targets: tuple[str, ...] = TARGETS
    parts: tuple[str, ...] = ("decoder",)
    draw: str = "uniform"

    def __post_init__(self):
        if self.rank < 1:
            raise ValueError(
                f"rank={self.rank}: expected 1 or more; "
                "config.train.lora.rank=0 trains all params instead."
            )
        if self.draw not in ("uniform", "normal"):
            raise ValueError(
                f"draw={self.draw!r}: expected 'uniform' or 'normal'."
            )
        unknown = sorted(set(self.parts) - set(PARTS))
        if unknown or not self.parts:
            raise ValueError(
                f"parts={self.parts}: expected one or more of {PARTS}."
            )

    @property
    def scale(self) -> float:
        """What the adapters' term is multiplied by."""
        return self.alpha / self.rank


def part_of(path: str) -> str:
    """The part of the model that a param belongs to."""
    first = path.partition(".")[0]
    # DeepStack has a connector for each of its depths.
    return "connector" if first.startswith("deep_") else first


def sizes(path: str, shape: tuple[int, ...]) -> tuple[int, int]:
    """(in, out) of a linear map, given its kernel's shape.

    The kernel of "out" is [H, K, D] with two axes in, that of "query" is
    [D, H, K] with two axes out.
    """
    inputs = len(shape) - 1 if path.endswith(".out") else 1
    return math.prod(shape[:inputs]), math.prod(shape[inputs:])


def chosen(config: LoraConfig, params: Params) -> dict[str, tuple[int, int]]:
    """(in, out) of every linear map that gets an adapter, by its path.

    Args:
      params: arrays, or only their shapes.

    Raises:
      ValueError: a part has none of the targets, or no model has a target of
        that name; the message lists what is there.
    """
    flat = flax.traverse_util.flatten_dict(params, sep=".")
    kernels = {
        path.removesuffix(".kernel"): x.shape
        for path, x in flat.items()
        if path.endswith(".kernel") and part_of(path) in config.parts
    }
    there = {path.rpartition(".")[2] for path in kernels}
    found = {
        path: sizes(path, shape)
        for path, shape in kernels.items()
        if path.rpartition(".")[2] in config.targets
    }
    unknown = set(config.targets) - there - set(TARGETS)
    bare = set(config.parts) - {part_of(path) for path in found}
    if unknown or bare:
        raise ValueError(
            f"LoRA with targets={config.targets} and parts={config.parts} "
            f"finds nothing for {', '.join(sorted(unknown | bare))}: linear "
            f"maps of these parts are {', '.join(sorted(there))}."
        )
    return found


def init(config: LoraConfig, params: Params, key: jax.Array) -> Adapters:
    """Fresh float32 adapters, which change nothing yet.

    A map's draw depends on the key and its own path, not on which others
    have adapters.

    Args:
      params: arrays, or only their shapes.
    """
    adapters = {}
    for path, (inputs, outputs) in chosen(config, params).items():
        own = jax.random.fold_in(key, zlib.crc32(path.encode()))
        shape = (inputs, config.rank)
        if config.draw == "normal":
            a = jax.random.normal(own, shape) / config.rank
        else:
            bound = inputs**-0.5
            a = jax.random.uniform(own, shape, minval=-bound, maxval=bound)
        adapters[f"{path}.{A}"] = a
        adapters[f"{path}.{B}"] = jnp.zeros((config.rank, outputs))
    return flax.traverse_util.unflatten_dict(adapters, sep=".")


def attach(config: LoraConfig, params: Params, adapters: Adapters) -> Params:
    """Params beside their adapters, scaled; no kernel is copied."""
    flat = flax.traverse_util.flatten_dict(adapters, sep=".")
    scaled = {
        path: x * config.scale if path.endswith(B) else x
        for path, x in flat.items()
    }
    whole = flax.traverse_util.flatten_dict(params, sep=".") | scaled
    return flax.traverse_util.unflatten_dict(whole, sep=".")


def merge(config: LoraConfig, params: Params, adapters: Adapters) -> Params:
    """Params with the adapters added to their kernels, in the params' dtype.

    Every kernel with an adapter is copied; jit it with `params` donated where
    they are not needed any more.
    """
    whole = flax.traverse_util.flatten_dict(params, sep=".")
    flat = flax.traverse_util.flatten_dict(adapters, sep=".")
    for path, a in flat.items():
        if path.endswith(A):
            path = path.removesuffix(A)
            kernel = whole[path + "kernel"]
            added = jnp.matmul(
                a * config.scale,
                flat[path + B],
                precision=jax.lax.Precision.HIGHEST,
            )
            moved = kernel.astype(jnp.float32) + added.reshape(kernel.shape)
            whole[path + "kernel"] = moved.astype(kernel.dtype)
    return flax.traverse_util.unflatten_dict(whole, sep=".")
