"""From the tensors of a checkpoint to params on the devices, one at a time."""

import gc
import mmap
from collections.abc import Callable

import flax.traverse_util
import jax
import numpy as np
from jax.sharding import Sharding

from vlm_games.hub.family import Family
from vlm_games.hub.stored import Stored
from vlm_games.models.config import VLMConfig
from vlm_games.models.vlm import Params, init_params

# One for all params, or by a param's path ("decoder.block_0.mlp.up.kernel") and
# shape; None is the default device.
Shardings = Sharding | None | Callable[[str, tuple[int, ...]], Sharding | None]


def abstract_params(config: VLMConfig) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of all params by path; nothing is computed."""
    shapes = jax.eval_shape(lambda: init_params(config, jax.random.key(0)))
    return flax.traverse_util.flatten_dict(shapes, sep=".")


def check(stored: Stored, family: Family, config: VLMConfig) -> None:
    """Compares a checkpoint's tensors with what `config` asks for.

    Raises:
      ValueError: naming each tensor that is missing, surplus or mis-shaped.
    """
    leaves, shapes = family.leaves(config), abstract_params(config)
    expected = {
        leaf.name: leaf.file_shape(shapes[path].shape)
        for path, leaf in leaves.items()
    }
    found = set(stored.names)
    wrong = [f"missing {n} {expected[n]}" for n in expected.keys() - found]
    wrong += [
        f"surplus {stored.names[n]} {stored.shape(n)}"
        for n in found - expected.keys()
        if not (family.is_unused(n) or family.is_repeated(n, config))
    ]
    wrong += [
        f"{stored.names[n]} has shape {stored.shape(n)}, expected {expected[n]}"
        for n in expected.keys() & found
        if stored.shape(n) != expected[n]
    ]
    if wrong:
        raise ValueError(
            f"{stored.folder} does not hold the weights that its config.json "
            "tells: "
            + "; ".join(sorted(wrong)[:8])
            + (f"; and {len(wrong) - 8} more" if len(wrong) > 8 else "")
            + ". Check that both are of one checkpoint, and that its family is "
            "read as docs/adding-a-family.md tells."
        )


def load(
    stored: Stored,
    family: Family,
    config: VLMConfig,
    dtype,
    sharding: Shardings = None,
) -> Params:
    """Params on the devices; at most one is on its way there at a time.

    Args:
      stored: from `open_weights`. family: its family.
      config: of the model; see `check` for what is compared.
      dtype: of the params. sharding: where they go; see `Shardings`.
    """
    check(stored, family, config)
    flat = {}
    for path, leaf in family.leaves(config).items():
        tensor = stored.read(leaf.name)
        part, parts = leaf.part
        if parts > 1:
            size = len(tensor) // parts
            tensor = tensor[part * size : (part + 1) * size]
        tensor = leaf.to_ours(tensor)
        place = sharding(path, tensor.shape) if callable(sharding) else sharding
        flat[path] = put(tensor, dtype, place)
        # JAX holds the copies that it was given until the next collection.
        gc.collect(0)
    return flax.traverse_util.unflatten_dict(flat, sep=".")


def put(mapped: np.ndarray, dtype, sharding: Sharding | None) -> jax.Array:
    """A mapped tensor on the devices, cast on the way.

    Of a sharded one, only the shards of this host's devices are read.
    """
    shards: dict[str, np.ndarray] = {}

    def read(index=...):
        # Devices that hold the same shard are given the same copy.
        if str(index) not in shards:
            shards[str(index)] = copy(mapped[index], dtype)
        return shards[str(index)]

    if sharding is None:
        found = jax.device_put(read())
    else:
        found = jax.make_array_from_callback(
            mapped.shape, sharding, read, dtype=dtype
        )
    # Lest copies of several tensors wait for their transfer.
    return found.block_until_ready()


def copy(mapped: np.ndarray, dtype) -> np.ndarray:
    """A copy in memory that goes back to the system when it is let go.

    malloc keeps freed memory of up to 32 MiB, in holes between the params. A
    copy is made even if nothing is cast: arrays of JAX may lie where their
    NumPy array does, and a file may change.
    """
    # Axes stay as they lie in the file, which is read in order; turning them
    # is left to JAX, which is faster.
    order = np.argsort(mapped.strides)[::-1]
    size = max(mapped.size * np.dtype(dtype).itemsize, 1)
    memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    turned = np.ndarray([mapped.shape[i] for i in order], dtype, memory)
    result = turned.transpose(np.argsort(order))
    result[...] = mapped
    return result
