"""The folder of a run: where everything lies, and what is already done.

W/config.json                     what the run was started with
W/arms/<arm>/iter_<k>/dialogs/    shards of candidates, see `shards`
                      warm_up/    the same of what makes them, if any
                      training/   of every stage, TrainState while it trains
                      checkpoint/ params when it has trained
                      metrics.json written last: the iteration is done
W/summary.json, report.html, tensorboard/<arm>/
"""

import fcntl
import json
import os
import pathlib

from vlm_games.data import atomic
from vlm_games.data.schema import Record
from vlm_games.data.shards import (
    TornShardError,
    list_shards,
    read_shard,
    write_shard,
)


class WorkdirError(RuntimeError):
    """The workdir cannot be used for this run; the message says why."""


class Workdir:
    """Paths and small files of one run."""

    def __init__(self, root: str | os.PathLike):
        self.root = pathlib.Path(root)

    def claim(self, config: dict) -> None:
        """Makes the folder this run's own, for as long as the process lives.

        Raises:
          WorkdirError: another process runs in it, or it holds a run with
            another config; the message names the fields that differ.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        self._lock = open(self.root / ".lock", "w")  # noqa: SIM115
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise WorkdirError(
                f"Another process is running in {self.root}. Wait for it, or "
                "give this run a --workdir of its own."
            ) from error
        path = self.root / "config.json"
        if path.exists():
            found = flatten(json.loads(path.read_text()))
            mine = flatten(json.loads(json.dumps(config)))
            differs = sorted(
                name
                for name in found.keys() | mine.keys()
                if found.get(name) != mine.get(name)
            )
            if differs:
                told = ", ".join(
                    f"{n}: {found.get(n)!r} there, {mine.get(n)!r} now"
                    for n in differs[:5]
                )
                raise WorkdirError(
                    f"{self.root} holds a run with another config ({told}). "
                    "Give another --workdir, or the old config to resume it."
                )
        else:
            atomic.write_bytes(path, json.dumps(config, indent=2).encode())

    def iteration(self, arm: str, iteration: int) -> pathlib.Path:
        """Folder of one iteration of an arm."""
        return self.root / "arms" / arm / f"iter_{iteration:03d}"

    def metrics(self, arm: str, iteration: int) -> dict | None:
        """Its metrics, or None while it is not done."""
        path = self.iteration(arm, iteration) / "metrics.json"
        if not path.exists():
            return None
        return json.loads(path.read_text())

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
        folder.mkdir(parents=True, exist_ok=True)
        content = json.dumps(metrics, indent=2) + "\n"
        atomic.write_bytes(folder / "metrics.json", content.encode())

    def shard_path(self, arm: str, iteration: int, shard: int):
        """Path of a shard of candidates."""
        folder = self.iteration(arm, iteration) / "dialogs"
        return folder / f"shard_{shard:05d}.jsonl"

    def read_shard(
        self, arm: str, iteration: int, shard: int, kind: type[Record]
    ) -> list[Record] | None:
        """A finished shard; None if it is missing or torn (then: make it)."""
        try:
            return read_shard(self.shard_path(arm, iteration, shard), kind)
        except (FileNotFoundError, TornShardError):
            return None

    def write_shard(self, arm, iteration, shard, records) -> None:
        """Stores the records of a shard, all or none."""
        write_shard(self.shard_path(arm, iteration, shard), records)

    def candidates(
        self, arm: str, iteration: int, kind: type[Record]
    ) -> list[Record]:
        """All candidates of an iteration."""
        folder = self.iteration(arm, iteration) / "dialogs"
        shards = list_shards(folder)
        return [r for path in shards for r in read_shard(path, kind)]


def flatten(tree: dict, prefix: str = "") -> dict:
    """{"a": {"b": 1}} to {"a.b": 1}."""
    flat: dict = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
