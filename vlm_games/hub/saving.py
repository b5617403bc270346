"""Params to the safetensors files of a checkpoint directory."""

import json
import pathlib
from collections.abc import Iterable, Mapping

import flax.traverse_util
import jax
import numpy as np
import safetensors.numpy

from vlm_games.hub.family import Family
from vlm_games.hub.leaves import Leaves
from vlm_games.hub.stored import INDEX, SINGLE, Stored
from vlm_games.models.config import VLMConfig
from vlm_games.models.vlm import Params

SHARD_BYTES = 4 << 30


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
            if name not in computed and not family.is_repeated(name, config):
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
    # One of an earlier save would be read in place of the shards.
    (folder / SINGLE).unlink(missing_ok=True)
    index = {
        "metadata": {"total_size": total},
        "weight_map": {name: final[i] for name, i in placed.items()},
    }
    text = json.dumps(index, indent=2) + "\n"
    (folder / INDEX).write_text(text, encoding="utf-8")
