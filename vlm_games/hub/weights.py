"""Weights between safetensors files and params, one tensor at a time."""

import dataclasses
import json
import pathlib
from collections.abc import Iterable, Mapping

import flax.traverse_util
import jax
import numpy as np
import safetensors
import safetensors.numpy

from vlm_games.hub.family import Family
from vlm_games.hub.leaves import Leaves
from vlm_games.models.config import VLMConfig
from vlm_games.models.vlm import Params, init_params

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
SHARD_BYTES = 4 << 30


@dataclasses.dataclass(frozen=True)
class Stored:
    """The tensors of a checkpoint directory; nothing is read until asked.

    Attributes:
      folder: the directory.
      files: file name by (renamed) tensor name.
      names: name in the file by (renamed) tensor name.
    """

    folder: pathlib.Path
    files: Mapping[str, str]
    names: Mapping[str, str]

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, from its file's header."""
        with safetensors.safe_open(self._path(name), "np") as file:
            return tuple(file.get_slice(self.names[name]).get_shape())

    def read(self, name: str) -> np.ndarray:
        """A tensor, in the dtype of the file."""
        with safetensors.safe_open(self._path(name), "np") as file:
            return file.get_tensor(self.names[name])

    def _path(self, name: str) -> pathlib.Path:
        return self.folder / self.files[name]


def open_weights(folder, family: Family) -> Stored:
    """Finds the tensors of a directory: one file, or shards with an index.

    Raises:
      FileNotFoundError: neither is there, or a shard is missing.
    """
    folder = pathlib.Path(folder)
    if (folder / INDEX).is_file():
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        placed = index["weight_map"]
    elif (folder / SINGLE).is_file():
        with safetensors.safe_open(folder / SINGLE, "np") as file:
            placed = dict.fromkeys(file.keys(), SINGLE)
    else:
        raise FileNotFoundError(
            f"{folder} has neither {SINGLE} nor {INDEX}. Weights in other "
            "formats can run code when loaded; convert them to safetensors."
        )
    absent = sorted({f for f in placed.values() if not (folder / f).is_file()})
    if absent:
        raise FileNotFoundError(
            f"{folder / INDEX} names files that are not there: {absent}."
        )
    names = {family.renamed(name): name for name in placed}
    files = {ours: placed[name] for ours, name in names.items()}
    return Stored(folder, files, names)


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
        if not family.is_unused(n)
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
            + "."
        )


def load(
    stored: Stored, family: Family, config: VLMConfig, dtype, sharding=None
) -> Params:
    """Params on the devices; at most one tensor is on the host at a time.

    Args:
      stored: from `open_weights`. family: its family.
      config: of the model; see `check` for what is compared.
      dtype: of the params. sharding: of each, or None for the default device.
    """
    check(stored, family, config)
    flat = {}
    for path, leaf in family.leaves(config).items():
        part, parts = leaf.part
        tensor = stored.read(leaf.name)
        size = len(tensor) // parts if tensor.ndim else 0
        if parts > 1:
            tensor = tensor[part * size : (part + 1) * size]
        # A cast copies; without one, the device's copy does.
        tensor = leaf.to_ours(tensor.astype(dtype, copy=False))
        flat[path] = jax.device_put(tensor, sharding)
        del tensor
    return flax.traverse_util.unflatten_dict(flat, sep=".")


def tensors(params: Params, leaves: Leaves) -> Iterable[tuple[str, np.ndarray]]:
    """(name, tensor) in the file's layout, parts put together again."""
    flat = flax.traverse_util.flatten_dict(params, sep=".")
    together: dict[str, list[str]] = {}
    for path, leaf in leaves.items():
        together.setdefault(leaf.name, []).append(path)
    for name, paths in together.items():
        paths.sort(key=lambda p: leaves[p].part)
        parts = [leaves[p].to_file(jax.device_get(flat[p])) for p in paths]
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts)
        yield name, np.ascontiguousarray(whole)


def save(
    folder, params: Params, stored: Stored, family: Family, config: VLMConfig
) -> None:
    """Writes params under the names of the checkpoint they came from.

    Tensors that the model does not compute with are copied from there. Files
    hold at most SHARD_BYTES, but for a tensor larger than that.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)

    leaves = family.leaves(config)
    computed = {leaf.name for leaf in leaves.values()}

    def everything():
        yield from tensors(params, leaves)
        for name in stored.names:
            if name not in computed:
                yield name, stored.read(name)

    shards: list[dict[str, np.ndarray]] = [{}]
    placed: dict[str, int] = {}
    size = total = 0

    def flush():
        name = f"model-{len(shards):05d}.safetensors"
        # transformers refuses a file whose metadata names no framework.
        safetensors.numpy.save_file(shards[-1], folder / name, {"format": "pt"})
        shards[-1].clear()

    for name, tensor in everything():
        if shards[-1] and size + tensor.nbytes > SHARD_BYTES:
            flush()
            shards.append({})
            size = 0
        name = stored.names.get(name, name)
        shards[-1][name] = tensor
        placed[name] = len(shards)
        size, total = size + tensor.nbytes, total + tensor.nbytes
    flush()
    _finish(folder, placed, len(shards), total)


def _finish(folder, placed: Mapping[str, int], count: int, total: int) -> None:
    """Gives the shards their final names and writes the index."""
    if count == 1:
        (folder / "model-00001.safetensors").replace(folder / SINGLE)
        (folder / INDEX).unlink(missing_ok=True)
        return
    final = {
        i: f"model-{i:05d}-of-{count:05d}.safetensors"
        for i in range(1, count + 1)
    }
    for i, name in final.items():
        (folder / f"model-{i:05d}.safetensors").replace(folder / name)
    index = {
        "metadata": {"total_size": total},
        "weight_map": {name: final[i] for name, i in placed.items()},
    }
    text = json.dumps(index, indent=2) + "\n"
    (folder / INDEX).write_text(text, encoding="utf-8")
