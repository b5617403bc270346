"""The devices, and which of them holds what.

    data     every batch is split over it; programs exchange nothing along it
             but the sum of gradients
    tensor   every large param is split over it, by RULES

    devices 0 .. 7, tensor=4      data 0:  0 1 2 3     a whole model each row
                                  data 1:  4 5 6 7

Code is written for one shard of "data" (`shard_batch`). What a split param
makes of its neighbours, and what is exchanged along "tensor", is left to XLA.
"""

from collections.abc import Sequence

import jax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

DATA, TENSOR = "data", "tensor"

# By the last two names of a param's path: the axis of it that is split. What
# is not named lies whole on every device. Heads, the width of feed-forward
# layers, and the vocabulary are what is split (arXiv 1909.08053).
RULES: dict[tuple[str, ...], int] = {
    ("query", "kernel"): 1,
    ("query", "bias"): 0,
    ("key", "kernel"): 1,
    ("key", "bias"): 0,
    ("value", "kernel"): 1,
    ("value", "bias"): 0,
    ("out", "kernel"): 0,
    ("up", "kernel"): 1,
    ("up", "bias"): 0,
    ("gate", "kernel"): 1,
    ("gate", "bias"): 0,
    ("down", "kernel"): 0,
    ("embed", "embedding"): 0,
    ("head", "kernel"): 1,
}


def make_mesh(
    devices: Sequence[jax.Device] | None = None, tensor: int = 1
) -> Mesh:
    """A mesh of all devices (or `devices`), `tensor` of them to a model.

    Raises:
      ValueError: the devices do not come out even.
    """
    devices = jax.devices() if devices is None else devices
    check_tensor(len(devices), tensor)
    return jax.make_mesh(
        (len(devices) // tensor, tensor),
        (DATA, TENSOR),
        axis_types=(AxisType.Auto,) * 2,
        devices=devices,
    )


def check_tensor(devices: int, tensor: int) -> None:
    """Raises ValueError if so many devices do not split into models."""
    if tensor < 1 or devices % tensor:
        raise ValueError(
            f"config.mesh.tensor={tensor}: {devices} devices do not split into "
            f"groups of so many: take a divisor of {devices}."
        )


def shard_batch(function, mesh: Mesh, in_specs, out_specs):
    """`jax.shard_map` over "data": the function sees one shard of the batch."""
    return jax.shard_map(
        function,
        mesh=mesh,
        in_specs=in_specs,
        out_specs=out_specs,
        axis_names={DATA},
        # What is exchanged is exchanged by hand, so there is no replication
        # to verify; nor would a transpose add a second sum of gradients.
        check_vma=False,
    )


def param_spec(path: str, shape: Sequence[int], tensor: int) -> P:
    """How a param lies over the mesh.

    Args:
      path: such as "decoder.block_0.mlp.up.kernel". shape: of the whole.
      tensor: devices to a model.

    Raises:
      ValueError: naming the param whose size does not divide.
    """
    axis = RULES.get(tuple(path.split(".")[-2:]))
    if tensor == 1 or axis is None:
        return P()
    if shape[axis] % tensor:
        raise ValueError(
            f"config.mesh.tensor={tensor}: {path} of shape "
            f"{tuple(shape)} does not split along axis {axis}. Take a divisor "
            f"of {shape[axis]}."
        )
    return P(*[None] * axis, TENSOR)


def place(mesh: Mesh, tree):
    """Puts a pytree on the devices, params split by RULES.

    Optimizer state is split as its params are: its paths end as theirs.
    """
    return jax.device_put(tree, shardings(mesh, tree))


def constrain(mesh: Mesh, tree):
    """`place` within a jitted function."""
    return jax.lax.with_sharding_constraint(tree, shardings(mesh, tree))


def shardings(mesh: Mesh, tree):
    """The sharding of every leaf of a pytree of params; see `place`."""

    def sharding(path, x):
        return param_sharding(mesh, dotted(path), x.shape)

    return jax.tree_util.tree_map_with_path(sharding, tree)


def dotted(path) -> str:
    """A path of jax.tree_util as names with dots between."""
    return ".".join(str(getattr(key, "key", key)) for key in path)


def param_sharding(mesh: Mesh, path: str, shape: Sequence[int]):
    """The sharding of one param; see `param_spec`."""
    return NamedSharding(mesh, param_spec(path, shape, mesh.shape[TENSOR]))
