"""The tensors of a checkpoint directory, mapped from its files.

A safetensors file is 8 bytes with the length of its header, the header in
JSON, and the tensors one behind the other:

    {"lm_head.weight": {"dtype": "BF16", "shape": [V, D],
                        "data_offsets": [start, end]}, ...}

A mapped tensor takes no memory of its own: its pages are the file's, and the
system may drop them at any time. Only what is read of it comes into memory.
"""

import dataclasses
import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any, Protocol

import jax.numpy as jnp
import numpy as np
import safetensors

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": jnp.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


@dataclasses.dataclass(frozen=True)
class Stored:
    """The tensors of a checkpoint directory; nothing is read until asked.

    Attributes:
      folder: the directory.
      files: file name by (renamed) tensor name.
      names: name in the file by (renamed) tensor name.
      headers: by file name, what the file says of its tensors.
    """

    folder: pathlib.Path
    files: Mapping[str, str]
    names: Mapping[str, str]
    headers: Mapping[str, Mapping[str, Any]]

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor."""
        return tuple(self._entry(name)["shape"])

    def read(self, name: str) -> np.ndarray:
        """A tensor, in the dtype of the file: read-only, and mapped from it.

        Raises:
          ValueError: a dtype that is not among DTYPES.
        """
        entry, path = self._entry(name), self.folder / self.files[name]
        if entry["dtype"] not in DTYPES:
            raise ValueError(
                f"{self.names[name]} in {path} has dtype {entry['dtype']}; "
                f"known are {', '.join(DTYPES)}."
            )
        dtype, shape = np.dtype(DTYPES[entry["dtype"]]), self.shape(name)
        if not math.prod(shape):  # nothing to map
            return np.zeros(shape, dtype)
        return np.memmap(path, dtype, "r", entry["offset"], shape)

    def _entry(self, name: str) -> Mapping[str, Any]:
        return self.headers[self.files[name]][self.names[name]]


class Renames(Protocol):
    """A `Family`, or whatever else knows the names in its files."""

    def renamed(self, name: str) -> str:
        """A tensor's name by our table, given the one in the file."""


def open_weights(folder, family: Renames) -> Stored:
    """Finds the tensors of a directory: one file, or shards with an index.

    Raises:
      FileNotFoundError: neither is there, or a shard is missing.
      ValueError: a file is damaged or outside of the directory, or two tensors
        are of one name.
    """
    folder = pathlib.Path(folder)
    if (folder / INDEX).is_file():
        shards = read_index(folder / INDEX)
    elif (folder / SINGLE).is_file():
        shards = [SINGLE]
    else:
        raise FileNotFoundError(
            f"{folder} has neither {SINGLE} nor {INDEX}. Weights in other "
            "formats can run code when loaded; convert them to safetensors."
        )
    absent = [f for f in shards if not (folder / f).is_file()]
    if absent:
        raise FileNotFoundError(
            f"{folder / INDEX} names files that are not there: {absent}. "
            "Download them, too."
        )
    headers = {shard: read_header(folder / shard) for shard in shards}
    names: dict[str, str] = {}
    files: dict[str, str] = {}
    for shard, header in headers.items():
        for name in header:
            ours = family.renamed(name)
            if ours in names:
                raise ValueError(
                    f"{folder} has one tensor twice: {names[ours]} in "
                    f"{files[ours]} and {name} in {shard}."
                )
            names[ours], files[ours] = name, shard
    return Stored(folder, files, names, headers)


def read_index(path: pathlib.Path) -> list[str]:
    """Names of the files that an index names, in its own folder.

    Raises:
      ValueError: it is no index, or names a file elsewhere.
    """
    try:
        index = json.loads(path.read_bytes())
        shards = sorted(set(index["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is no index of safetensors files "
            f"({type(error).__name__}: {error})."
        ) from error
    for name in shards:
        if not isinstance(name, str) or pathlib.PurePath(name).name != name:
            raise ValueError(
                f"{path} names the file {name!r}; only files beside it are "
                "read."
            )
    return shards


def read_header(path: pathlib.Path) -> dict[str, dict[str, Any]]:
    """What a safetensors file says of each tensor.

    Returns:
      by name: "dtype", "shape", and "offset" in the file, bytes.

    Raises:
      ValueError: it is no safetensors file, or cut short.
    """
    try:
        # Looks whether header and length of the file agree.
        with safetensors.safe_open(path, "np"):
            pass
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"{path} is damaged or no safetensors file ({error}). Was it "
            "downloaded to its end?"
        ) from error
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    for entry in header.values():
        entry["offset"] = 8 + length + entry["data_offsets"][0]
    return header
