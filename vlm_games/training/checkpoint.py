"""Orbax checkpoints of params and of training under way.

On a disk Orbax writes beside the place and renames, so no crash leaves half of
one. In a bucket it writes the objects where they stay, and a checkpoint is
there once sizes.json is, which is written last. What half a copy or a bad disk
leaves shows by the lengths of its files, which sizes.json tells. Arrays are
restored to the shapes and devices of a template, so that a run can go on with
another number of devices.
"""

import json
import os
import pathlib
import re

import jax
from absl import logging
from orbax.checkpoint import v1 as ocp

from vlm_games import hosts
from vlm_games.data import atomic, storage
from vlm_games.data.listing import is_remote
from vlm_games.data.workdir import SIZES


def save(path: pathlib.Path, tree) -> None:
    """Writes a pytree of arrays; an older one at `path` is replaced.

    All hosts call it, with arrays on a mesh of all of them: each writes what
    its own devices hold.

    Raises:
      OSError: the disk is full, or refuses; nothing lies at `path` then.
      ValueError: a bucket refuses.
    """
    if is_remote(path):
        # Not by Orbax, which would delete sizes.json in between, and asks for
        # the right to look at the bucket itself.
        if hosts.is_first():
            delete(path)
        hosts.meet(f"place for {path}")
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
    verbosity = logging.get_verbosity()
    # Lest each of Orbax's threads prints the trace of what is raised anyway.
    logging.set_verbosity(logging.FATAL)
    try:
        ocp.save(_whole(path), tree, overwrite=not is_remote(path))
    except ValueError as error:  # by which TensorStore tells of the disk
        found = re.search(r"os_error_code='(\d+)'", str(error))
        if found is None:
            raise
        code = int(found[1])
        raise OSError(code, os.strerror(code), str(path)) from error
    except OSError as error:  # of Orbax's own small files, which has no name
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        logging.set_verbosity(verbosity)
    if hosts.is_first():
        atomic.write_json(path / SIZES, _sizes(path))
    hosts.meet(f"saved {path}")


def load(path: pathlib.Path, like):
    """Reads a pytree with the structure, shapes and devices of `like`."""
    abstract = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding),
        like,
    )
    return ocp.load(_whole(path), abstract)


def _whole(path: pathlib.Path) -> pathlib.Path:
    """The path from the root on, as Orbax wants it."""
    return path if is_remote(path) else path.absolute()


def exists(path: pathlib.Path) -> bool:
    """Whether a whole checkpoint lies at `path`."""
    return path.is_dir() and _fault(path) is None


def find(path: pathlib.Path) -> bool:
    """As `exists`; a torn one is set aside. All hosts ask together."""
    return hosts.first_says(f"whole {path}", lambda: _look(path))


def _look(path: pathlib.Path) -> bool:
    """What host 0 does for `find`."""
    if not path.is_dir():
        return False
    if is_remote(path) and not (path / SIZES).exists():
        return False  # killed while it was written: written over
    fault = _fault(path)
    if fault is not None:
        atomic.set_aside(path, fault)
    return fault is None


def latest(folder: pathlib.Path) -> tuple[int, pathlib.Path] | None:
    """(step, path) of the last whole `step_<n>` in `folder`, or None.

    Torn ones are set aside. All hosts ask together.
    """

    def look() -> int | None:
        steps = [
            int(match[1])
            for path in list(folder.glob("step_*"))
            if (match := re.fullmatch(r"step_([0-9]+)", path.name))
            and _look(path)
        ]
        return max(steps, default=None)

    last = hosts.first_says(f"last in {folder}", look)
    return None if last is None else (last, folder / f"step_{last}")


def prune(folder: pathlib.Path, keep: int | None = None) -> None:
    """Deletes the `step_<n>` in `folder` but for step `keep`."""
    if not hosts.is_first():
        return
    for path in list(folder.glob("step_*")):
        if path.name != f"step_{keep}":
            delete(path)


def delete(path: pathlib.Path) -> None:
    """Deletes a checkpoint, if one is there; host 0 alone calls it."""
    if is_remote(path):  # where it is whole by its sizes.json
        (path / SIZES).unlink(missing_ok=True)
    storage.delete(path)


def _sizes(path: pathlib.Path) -> dict[str, int]:
    """Length of every file of a checkpoint, bytes."""
    return {
        name: file.size
        for name, file in storage.files_in(path).items()
        if pathlib.PurePath(name).name != SIZES
    }


def _fault(path: pathlib.Path) -> str | None:
    """Why a folder is no whole checkpoint, or None."""
    if not is_remote(path) and not ocp.is_orbax_checkpoint(path.absolute()):
        return "no checkpoint of Orbax"
    try:
        expected = json.loads((path / SIZES).read_bytes())
    except FileNotFoundError:
        if is_remote(path):
            return f"it has no {SIZES}"
        return None  # killed between Orbax's rename and the sizes
    except ValueError:
        expected = None
    if not isinstance(expected, dict):
        return f"{SIZES} is no JSON object"
    found = _sizes(path)
    for name, size in expected.items():
        if found.get(name) != size:
            there = f"has {found[name]}" if name in found else "is missing"
            return f"{name}, of {size} bytes, {there}"
    return None
