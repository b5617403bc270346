"""The devices as one row: every batch is split over the axis "data"."""

from collections.abc import Sequence

import jax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P


def data_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh of all devices (or `devices`) along "data"."""
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh(
        (len(devices),),
        ("data",),
        axis_types=(AxisType.Auto,),
        devices=devices,
    )


def replicate(mesh: Mesh, tree):
    """Puts a copy of `tree` on every device of the mesh."""
    return jax.device_put(tree, NamedSharding(mesh, P()))
