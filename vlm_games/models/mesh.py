"""The devices, and which of them holds what.

    data     every batch is split over it
    fsdp     every batch, too; and while a model trains its large params,
             gradients and optimizer state (arXiv 1910.02054)
    tensor   every large param, always (arXiv 1909.08053)

    devices 0 .. 7, fsdp=2, tensor=2

                fsdp 0    fsdp 1
      data 0     0 1       2 3       a batch has four shards, of two devices;
      data 1     4 5       6 7       a param four parts, held twice

Code is written for one shard of a batch (`shard_batch`). It sees an FSDP param
as a `Piece`, of which the model makes the whole where it needs it. What a param
split over "tensor" makes of its neighbours is left to XLA.

Models play on a mesh of their own (`play_mesh`), of one host's devices, where
"fsdp" is 1: no device waits for a param of another one.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from vlm_games import hosts

DATA, FSDP, TENSOR = AXES = ("data", "fsdp", "tensor")
BATCH = (DATA, FSDP)  # what rows and images are split over
WHOLE = "whole_param"  # what is made of a Piece, to checkpoint policies

# By the last two names of a param's path: the axis of it that is split over
# "fsdp", and over "tensor". What is not named lies whole on every device.
# Heads, the width of feed-forward layers, and the vocabulary are what "tensor"
# splits; "fsdp" takes the model's width.
RULES: Mapping[tuple[str, ...], tuple[int | None, int | None]] = {
    ("query", "kernel"): (0, 1),
    ("query", "bias"): (None, 0),
    ("key", "kernel"): (0, 1),
    ("key", "bias"): (None, 0),
    ("value", "kernel"): (0, 1),
    ("value", "bias"): (None, 0),
    ("out", "kernel"): (2, 0),
    ("up", "kernel"): (0, 1),
    ("up", "bias"): (None, 0),
    ("gate", "kernel"): (0, 1),
    ("gate", "bias"): (None, 0),
    ("down", "kernel"): (1, 0),
    ("embed", "embedding"): (1, 0),
    ("head", "kernel"): (0, 1),
    ("patches", "kernel"): (1, None),
}


def make_mesh(
    devices: Sequence[jax.Device] | None = None, fsdp: int = 1, tensor: int = 1
) -> Mesh:
    """A mesh of all devices of all hosts, or of `devices`.

    Args:
      fsdp: devices that share a model's state while it trains.
      tensor: devices that share every large param.

    Raises:
      ValueError: the devices do not come out even.
    """
    devices = jax.devices() if devices is None else devices
    shape = mesh_shape(len(devices), fsdp, tensor)
    return jax.make_mesh(
        tuple(shape.values()),
        AXES,
        axis_types=(AxisType.Auto,) * len(AXES),
        devices=devices,
    )


def mesh_shape(devices: int, fsdp: int, tensor: int) -> dict[str, int]:
    """Sizes of the axes; ValueError if so many devices do not split so."""
    if min(fsdp, tensor) < 1 or devices % (fsdp * tensor):
        raise ValueError(
            f"config.mesh.fsdp={fsdp}, config.mesh.tensor={tensor}: {devices} "
            f"devices do not split into groups of {fsdp} x {tensor}: take two "
            f"numbers whose product divides {devices}."
        )
    return {DATA: devices // (fsdp * tensor), FSDP: fsdp, TENSOR: tensor}


def play_mesh(mesh: Mesh, together: int = 0) -> Mesh:
    """This host's devices of `mesh`, as models play on them.

    Args:
      together: devices that hold a model together, param by param; 1 for a
        whole model on each, 0 for as many as "tensor" has in `mesh`.

    Raises:
      ValueError: the host's devices do not split into groups of so many.
    """
    together = together or mesh.shape[TENSOR]
    mine = [d for d in mesh.devices.flat if d.process_index == hosts.index()]
    check_together(len(mine), together)
    return Mesh(
        np.reshape(mine, (-1, 1, together)),
        AXES,
        axis_types=(AxisType.Auto,) * len(AXES),
    )


def check_together(devices: int, together: int) -> None:
    """Raises ValueError if a host's devices do not split so; see above."""
    if together < 1 or devices % together:
        raise ValueError(
            f"config.mesh.play={together} (0 stands for config.mesh.tensor): "
            f"the {devices} devices of a host do not split into groups of so "
            f"many: take a divisor of {devices}. Games are played within a "
            "host."
        )


def shards_of(mesh: Mesh) -> int:
    """Into how many shards a batch is split."""
    return mesh.shape[DATA] * mesh.shape[FSDP]


def shards_here(mesh: Mesh) -> list[int]:
    """Numbers of the shards of a batch that lie on this host's devices."""
    groups = mesh.devices.reshape(shards_of(mesh), -1)
    return [
        number
        for number, group in enumerate(groups)
        if any(d.process_index == hosts.index() for d in group)
    ]


def shard_batch(function, mesh: Mesh, in_specs, out_specs):
    """`jax.shard_map` over BATCH: the function sees one shard of the batch."""
    return jax.shard_map(
        function,
        mesh=mesh,
        in_specs=in_specs,
        out_specs=out_specs,
        axis_names=set(BATCH),
        # What is exchanged is exchanged by hand, so there is no replication
        # to verify; nor would a transpose add a second sum of gradients.
        check_vma=False,
    )


# Where params lie -------------------------------------------------------------


def param_spec(path: str, shape: Sequence[int], sizes: Mapping[str, int]) -> P:
    """How a param lies over the mesh.

    Args:
      path: such as "decoder.block_0.mlp.up.kernel". shape: of the whole.
      sizes: of the mesh's axes; a missing one is 1.

    Raises:
      ValueError: naming the param whose size does not divide.
    """
    axes = RULES.get(tuple(path.split(".")[-2:]), (None, None))
    names: list[str | None] = [None] * len(shape)
    for name, axis in zip((FSDP, TENSOR), axes, strict=True):
        size = sizes.get(name, 1)
        if size == 1 or axis is None:
            continue
        if shape[axis] % size:
            raise ValueError(
                f"{path} of shape {tuple(shape)} does not split along axis "
                f"{axis} over {size} devices: config.mesh.{name}, or "
                "config.mesh.play, must be a divisor of "
                f"{shape[axis]}."
            )
        names[axis] = name
    while names and names[-1] is None:
        names.pop()
    return P(*names)


def place(mesh: Mesh, tree):
    """Puts a pytree on the devices, params split by RULES.

    Optimizer state is split as its params are: its paths end as theirs. Of a
    mesh of several hosts all call it, with equal values; from such a mesh to
    one host's, too.
    """
    return jax.tree.map(_put, tree, shardings(mesh, tree))


def _put(x, sharding: NamedSharding) -> jax.Array:
    local = not isinstance(x, jax.Array) or x.is_fully_addressable
    if sharding.is_fully_addressable:
        if not local:  # one param after the other is whole on every host
            x = multihost_utils.process_allgather(x, tiled=True)
        return jax.device_put(x, sharding)
    if not local:
        return jax.device_put(x, sharding)
    whole = np.asarray(x)
    return jax.make_array_from_callback(
        whole.shape, sharding, lambda index: whole[index]
    )


def place_batch(mesh: Mesh, tree):
    """Arrays of rows on the devices, split over BATCH.

    Args:
      tree: of NumPy arrays; the rows of `shards_here`, in this order.
    """
    sharding = NamedSharding(mesh, P(BATCH))
    return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(sharding, x), tree
    )


def constrain(mesh: Mesh, tree):
    """`place` within a jitted function."""
    return jax.lax.with_sharding_constraint(tree, shardings(mesh, tree))


def abstract(mesh: Mesh, tree):
    """Shapes and places of a pytree of params, for reading a checkpoint."""
    return jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
        tree,
        shardings(mesh, tree),
    )


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
    return NamedSharding(mesh, param_spec(path, shape, mesh.shape))


# Pieces, within `shard_batch` -------------------------------------------------


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Piece:
    """A device's own part of a param that "fsdp" splits.

    Attributes:
      part: of the whole. axis: along which it is split.
    """

    part: jax.Array
    axis: int = dataclasses.field(metadata={"static": True})


def fsdp_specs(mesh: Mesh, tree):
    """How a pytree of params enters `shard_batch`; "tensor" is left out."""
    sizes = {FSDP: mesh.shape[FSDP]}

    def spec(path, x):
        return param_spec(dotted(path), x.shape, sizes)

    return jax.tree_util.tree_map_with_path(spec, tree)


def pieces(tree, specs):
    """Params as they entered `shard_batch`, split ones as a Piece."""

    def piece(x, spec):
        return Piece(x, tuple(spec).index(FSDP)) if FSDP in spec else x

    return jax.tree.map(piece, tree, specs)


def is_piece(x) -> bool:
    """Whether a leaf of params is a Piece."""
    return isinstance(x, Piece)


def whole(tree):
    """Makes params whole; their gradients come back summed, in pieces."""

    def gather(x):
        if not is_piece(x):
            return x
        found = jax.lax.all_gather(x.part, FSDP, axis=x.axis, tiled=True)
        return checkpoint_name(found, WHOLE)

    return jax.tree.map(gather, tree, is_leaf=is_piece)


def whole_but_blocks(tree):
    """`whole` for what is in no block: a block does so when it is run."""

    def gather(path, x):
        return x if ".block_" in dotted(path) else whole(x)

    return jax.tree_util.tree_map_with_path(gather, tree, is_leaf=is_piece)


def sum_gradients(tree):
    """Sums over the mesh; of a Piece over "data" alone, see `whole`."""

    def total(x):
        if is_piece(x):
            return jax.lax.psum(x.part, DATA)
        return jax.lax.psum(x, BATCH)

    return jax.tree.map(total, tree, is_leaf=is_piece)
