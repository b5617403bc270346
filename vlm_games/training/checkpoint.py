"""Orbax checkpoints of params and of training under way.

Orbax writes beside the place and renames, so a checkpoint that can be seen is
whole. Arrays are restored to the shapes and devices of a template, so that a
run can go on with another number of devices.
"""

import pathlib
import re
import shutil

import jax
from orbax.checkpoint import v1 as ocp

from vlm_games import hosts


def save(path: pathlib.Path, tree) -> None:
    """Writes a pytree of arrays; an older one at `path` is replaced.

    All hosts call it, with arrays on a mesh of all of them: each writes what
    its own devices hold.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    ocp.save(path.absolute(), tree, overwrite=True)
    hosts.meet(f"saved {path}")


def load(path: pathlib.Path, like):
    """Reads a pytree with the structure, shapes and devices of `like`."""
    abstract = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding),
        like,
    )
    return ocp.load(path.absolute(), abstract)


def exists(path: pathlib.Path) -> bool:
    """Whether a whole checkpoint lies at `path`; all hosts ask together."""
    there = path.is_dir() and ocp.is_orbax_checkpoint(path.absolute())
    return hosts.first_says(f"is there {path}", there)


def latest(folder: pathlib.Path) -> tuple[int, pathlib.Path] | None:
    """(step, path) of the last `step_<n>` in `folder`, or None.

    All hosts ask together.
    """
    found = [
        int(match[1])
        for path in (folder.iterdir() if folder.is_dir() else ())
        if (match := re.fullmatch(r"step_([0-9]+)", path.name))
        and ocp.is_orbax_checkpoint(path.absolute())
    ]
    last = hosts.first_says(f"last in {folder}", max(found, default=-1))
    return None if last < 0 else (last, folder / f"step_{last}")


def prune(folder: pathlib.Path, keep: int | None = None) -> None:
    """Deletes the `step_<n>` in `folder` but for step `keep`."""
    if not hosts.is_first():
        return
    for path in list(folder.glob("step_*")) if folder.is_dir() else []:
        if path.name != f"step_{keep}":
            shutil.rmtree(path, ignore_errors=True)
