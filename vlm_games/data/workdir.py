"""The folder of a run: where everything lies, and what is already done.

W/config.json                     what the run was started with
W/arms/<arm>/iter_<k>/dialogs/    shards of candidates, see `shards`
                      warm_up/    the same of what makes them, if any
                      training/   of every stage, TrainState while it trains
                      checkpoint/ params when it has trained
                      metrics.json written last: the iteration is done
W/summary.json, report.html, tensorboard/<arm>/
"""

import json
import os
import pathlib
from collections.abc import Collection, Mapping
from typing import TypeVar

from vlm_games import hosts
from vlm_games.data import atomic, lock, storage
from vlm_games.data.lock import WorkdirError
from vlm_games.data.schema import Record
from vlm_games.data.shards import (
    TornShardError,
    delete_shard,
    is_whole,
    list_shards,
    read_whole,
    split_lines,
    write_shard,
)
from vlm_games.data.stored import Stored

Kind = TypeVar("Kind", bound=Record)
# Of a checkpoint, written last: file's path in it -> bytes.
SIZES = "sizes.json"
# What of an iteration is finished as soon as it is there.
KEPT = (
    "dialogs/shard_*.jsonl",
    f"*/*/step_*/{SIZES}",
    f"checkpoint/{SIZES}",
    "metrics.json",
)
# Of fields that differ: those that say most are told first, digests last.
FIRST = ("method", "base", "images", "seed", "iterations")
DIGESTS = "digests."
SHOWN = 5


class Workdir:
    """Paths and small files of one run."""

    def __init__(self, root: str | os.PathLike):
        """Args:
          root: a folder, or gs://bucket/folder.

        Raises:
          ValueError: it is another URL, or what reads buckets is missing.
        """
        self.root = storage.path_of(root)
        self._lock: lock.FolderLock | lock.BucketLock | None = None

    def claim(self, config: dict) -> None:
        """Makes the folder this run's own until `release` or the process ends.

        Of several hosts the first does so; the others look whether they see
        what it wrote.

        Raises:
          WorkdirError: another process runs in it, or it holds a run with
            another config; the message names the fields that differ.
        """
        if hosts.is_first():
            self._lock = lock.take(self.root)
            self._keep(config)
        hosts.meet("workdir claimed")
        if not (self.root / storage.CONFIG).exists():
            raise WorkdirError(
                f"Host {hosts.index()} does not see what host 0 wrote into "
                f"{self.root}. All hosts need one --workdir that they share."
            )
        self._keep(config)

    def _keep(self, config: dict) -> None:
        """Writes the config, or compares it with the one that is there."""
        path = self.root / storage.CONFIG
        if path.exists():
            found = flatten(self.config())
            mine = flatten(json.loads(json.dumps(config)))
            differs = [
                name
                for name in found.keys() | mine.keys()
                if found.get(name) != mine.get(name)
            ]
            if differs:
                self.release()
                told = tell_differences(found, mine, differs)
                raise WorkdirError(
                    f"{self.root} holds a run with another config ({told}). "
                    "Give another --workdir, or the old config to resume it."
                )
        else:
            atomic.write_json(path, config)

    def release(self) -> None:
        """Lets others claim the folder, in this process too."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def config(self) -> dict:
        """What the run was started with, and the digests of its inputs.

        Raises:
          FileNotFoundError: no run was ever started in the folder.
        """
        path = self.root / storage.CONFIG
        if not path.is_file():
            raise FileNotFoundError(
                f"{self.root} holds no run: it has no config.json. Give the "
                "--workdir of a run of vlm_games.main."
            )
        return _read_config(path)

    def iteration(self, arm: str, iteration: int) -> pathlib.Path:
        """Folder of one iteration of an arm."""
        return self.root / "arms" / arm / f"iter_{iteration:03d}"

    def metrics(self, arm: str, iteration: int) -> dict | None:
        """Its metrics, or None while it is not done."""
        return atomic.read_json(self.iteration(arm, iteration) / "metrics.json")

    def metrics_by_arm(self) -> dict[str, list[dict]]:
        """Of all that is done, main first, in order of iteration."""
        arms = (self.root / "arms").iterdir()
        return {
            arm.name: [
                json.loads(path.read_text())
                for path in sorted(arm.glob("iter_*/metrics.json"))
            ]
            for arm in sorted(arms, key=lambda a: (a.name != "main", a.name))
        }

    def write_metrics(self, arm: str, iteration: int, metrics: dict) -> None:
        """Marks an iteration as done."""
        folder = self.iteration(arm, iteration)
        atomic.write_json(folder / "metrics.json", metrics)

    def shard_path(self, arm: str, iteration: int, shard: int) -> pathlib.Path:
        """Path of a shard of candidates."""
        folder = self.iteration(arm, iteration) / "dialogs"
        return folder / f"shard_{shard:05d}.jsonl"

    def read_shard(
        self, arm: str, iteration: int, shard: int
    ) -> list[bytes] | None:
        """Lines of a finished shard; None if there is none, and it is to be
        made.

        A torn one is set aside, by host 0.
        """
        path = self.shard_path(arm, iteration, shard)
        try:
            return split_lines(read_whole(path))
        except FileNotFoundError:
            return None
        except TornShardError:
            if hosts.is_first():
                atomic.set_aside(path, "its checksum differs")
            return None

    def has_torn_shard(self, arm: str, iteration: int) -> bool:
        """Whether a shard of an iteration is not what was written."""
        folder = self.iteration(arm, iteration) / "dialogs"
        return not all(is_whole(path) for path in list_shards(folder))

    def write_shard(self, arm, iteration, shard, records) -> None:
        """Stores the records of a shard, all or none."""
        write_shard(self.shard_path(arm, iteration, shard), records)

    def drop_after(self, arm: str, iteration: int, shard: int) -> None:
        """Deletes the shards behind one."""
        last = self.shard_path(arm, iteration, shard)
        for path in list_shards(last.parent):
            if path.name > last.name:
                delete_shard(path)

    def candidates(
        self, arm: str, iteration: int, kind: type[Kind]
    ) -> Stored[Kind]:
        """All candidates of an iteration."""
        found = Stored(kind)
        for path in list_shards(self.iteration(arm, iteration) / "dialogs"):
            found.add(path, split_lines(read_whole(path)))
        return found


def last_kept(root: str | os.PathLike) -> str:
    """What a run has finished last, in words."""
    root = storage.path_of(root)
    found = [
        (file.changed, pathlib.PurePath(name))
        for name, file in storage.files_in(root / "arms").items()
        if _is_kept(pathlib.PurePath(name))
    ]
    if not found:
        return f"Nothing is finished in {root} yet."
    _, path = max(found)
    last = path.parent if path.name == SIZES else path
    return f"All that was finished is kept in {root}, last of all arms/{last}."


def _is_kept(path: pathlib.PurePath) -> bool:
    """Whether a file of arms/ tells that something is finished."""
    return any(
        len(path.parts) == 3 + pattern.count("/") and path.match(pattern)
        for pattern in KEPT
    )


def _read_config(path: pathlib.Path) -> dict:
    """What the run was started with.

    It cannot be made anew: nothing else tells which run this is.
    """
    try:
        found = json.loads(path.read_bytes())
        if isinstance(found, dict):
            return found
        fault = "no JSON object"
    except (ValueError, RecursionError) as error:
        fault = str(error)
    raise WorkdirError(
        f"{path} is not whole ({fault}), so this may be another run's folder. "
        "Restore it; or delete it, if the config is the one that the run was "
        "started with."
    )


def tell_differences(
    there: Mapping, now: Mapping, names: Collection[str]
) -> str:
    """Fields of two flat configs that differ, the telling ones first."""

    def rank(name: str) -> tuple[bool, int, str]:
        first = FIRST.index(name) if name in FIRST else len(FIRST)
        return name.startswith(DIGESTS), first, name

    def shown(name: str, config: Mapping) -> str:
        value = config.get(name)
        if name.startswith(DIGESTS) and isinstance(value, str):
            return f"{value[:8]}..."
        return repr(value)

    ordered = sorted(names, key=rank)
    told = [
        f"{name}: {shown(name, there)} there, {shown(name, now)} now"
        for name in ordered[:SHOWN]
    ]
    if len(ordered) > SHOWN:
        told.append(f"and {len(ordered) - SHOWN} more")
    return ", ".join(told)


def flatten(tree: dict, prefix: str = "") -> dict:
    """{"a": {"b": 1}} to {"a.b": 1}."""
    flat: dict = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
