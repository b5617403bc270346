"""What the page reads of a run: figures, candidates, pictures; no weights."""

import dataclasses
import functools
import pathlib
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from vlm_games.base_model import find_instructions
from vlm_games.data import storage
from vlm_games.data.images import ImageSource
from vlm_games.data.records import GameRecord
from vlm_games.data.schema import Record
from vlm_games.data.shards import TornShardError, list_shards, read_shard
from vlm_games.data.workdir import Workdir
from vlm_games.games.instructions import Instructions
from vlm_games.methods.copies import copied_games, with_copies
from vlm_games.methods.method import MAIN
from vlm_games.methods.registry import METHODS, arms_of
from vlm_games.methods.views import PLAIN, seen, view_keys, views
from vlm_games.report.candidates import CandidateView
from vlm_games.training import checkpoint
from vlm_games.workbench import config_of, open_images

SHARDS_KEPT = 512  # parsed shards in memory


@dataclasses.dataclass(frozen=True, order=True)
class Checkpoint:
    """A model of the run; iteration 0 is the base."""

    arm: str
    iteration: int

    @property
    def name(self) -> str:
        """For people."""
        if not self.iteration:
            return "base"
        return f"{self.arm}, iteration {self.iteration}"

    @property
    def key(self) -> str:
        """For addresses and forms."""
        return f"{self.arm}:{self.iteration}"


@dataclasses.dataclass(frozen=True)
class Candidate:
    """What a method made that is no game.

    Attributes:
      shard: number of its shard. line: place in it, from 0.
      record: as it lies on disk. view: as a page shows it.
    """

    shard: int
    line: int
    record: Record
    view: CandidateView

    def path(self, arm: str) -> str:
        """Names it in addresses."""
        return f"{arm}/{self.view.iteration}/{self.shard}/{self.line}"


class RunFolder:
    """Reads a workdir again whenever it is asked: the run may be under way."""

    def __init__(self, root):
        """Raises FileNotFoundError, ValueError: no run, or not its images."""
        self.workdir = Workdir(root)
        self.config = config_of(self.workdir)
        self.arms = arms_of(self.config)
        self.method = METHODS[self.config.method]
        self._lock = threading.RLock()

    @property
    def has_games(self) -> bool:
        """Whether its candidates are games."""
        return self.method.record is GameRecord

    @functools.cached_property
    def images(self) -> ImageSource:
        """What is played on."""
        with self._lock:
            return open_images(self.config)

    @functools.cached_property
    def instructions(self) -> Instructions:
        """What its model is told."""
        with self._lock:
            return find_instructions(self.config.base, self.config.instructions)

    def figures(self) -> dict[str, list[dict]]:
        """metrics.json by arm; main first, with no row while none is done."""
        return {
            arm: [
                row
                for i in range(self.config.iterations + 1)
                if (row := self.workdir.metrics(arm, i)) is not None
            ]
            for arm in self.arms
        }

    def checkpoints(self) -> list[Checkpoint]:
        """The models that are there to play with, the base first."""
        found = [
            Checkpoint(arm, i)
            for arm in self.arms
            for i in range(1, self.config.iterations + 1)
            if checkpoint.exists(self.checkpoint_path(Checkpoint(arm, i)))
        ]
        return [Checkpoint(MAIN, 0), *found]

    def checkpoint_path(self, which: Checkpoint) -> pathlib.Path:
        """Where its params lie."""
        folder = self.workdir.iteration(which.arm, which.iteration)
        return folder / "checkpoint"

    def shards(self, arm: str, iteration: int) -> list[pathlib.Path]:
        """Finished shards of candidates."""
        return list_shards(self.workdir.iteration(arm, iteration) / "dialogs")

    def is_making(self, arm: str, iteration: int) -> bool:
        """Whether candidates of an iteration may still come."""
        trained = self.workdir.iteration(arm, iteration) / "training"
        done = self.workdir.metrics(arm, iteration) is not None
        return not (done or trained.is_dir())

    def games(self, arm: str, iteration: int) -> list[GameRecord]:
        """The games played so far."""
        return list(self._records(arm, iteration).values())

    def candidates(self, arm: str, iteration: int) -> list[Candidate]:
        """What was made so far, where it is no games."""
        made = self._records(arm, iteration)
        views = self.method.views(list(made.values()), iteration, self)
        return [
            Candidate(*place, record, view)
            for (place, record), view in zip(made.items(), views, strict=True)
        ]

    def _records(self, arm: str, iteration: int) -> dict[tuple[int, int], Any]:
        """By shard and place in it; a torn shard is being made again."""
        found: dict[tuple[int, int], Any] = {}
        folder = self.workdir.iteration(arm, iteration) / "dialogs"
        files = storage.files_in(folder)
        for path in self.shards(arm, iteration):
            if path.name not in files:  # not yet when they were listed
                continue
            try:
                records = _read(path, files[path.name], self.config.method)
            except (FileNotFoundError, TornShardError):
                continue
            shard = int(path.stem.rpartition("_")[2])
            found |= {(shard, i): record for i, record in enumerate(records)}
        return found

    def progress(self) -> dict:
        """How far it is: steps done and in all, the one under way, and the
        seconds since anything was written."""
        steps = [
            (arm, i)
            for arm in self.arms
            for i in range(self.config.iterations + 1)
            if i or arm == MAIN
        ]
        open_ = [s for s in steps if self.workdir.metrics(*s) is None]
        found = {"done": len(steps) - len(open_), "of": len(steps)}
        if not open_:
            return {**found, "state": "finished"}
        arm, iteration = open_[0]
        folder = self.workdir.iteration(arm, iteration)
        state = "measuring" if iteration == 0 else "starting"
        if self.shards(arm, iteration):
            count = len(self.shards(arm, iteration))
            what = "games" if self.has_games else "candidates"
            state = f"playing, {count} shards of {what} so far"
        if (folder / "training").is_dir():
            state = "training"
        if checkpoint.exists(folder / "checkpoint"):
            state = "measuring"
        where = f"{arm}, iteration {iteration}" if iteration else "base"
        return {
            **found,
            "state": f"{where}: {state}",
            "silent": round(time.time() - _last_change(self.workdir.root)),
        }

    def numbers(self, record: GameRecord) -> tuple[int, ...]:
        """What a game was played on; its corrupted copy, if there is one,
        stands where it stood in the run, behind all images."""
        found = list(record.images)
        if record.copy is not None:
            place = self._copied(record.iteration).index(record.game)
            found[record.copy] = len(self.images) + place
        return tuple(found)

    def view(self, iteration: int, name: str, image: int) -> np.ndarray:
        """An image, by its number, as the role or judge saw it.

        Args:
          name: one of `views`, or PLAIN.

        Raises:
          KeyError, IndexError: there is no such view or image (yet).
        """
        named = {PLAIN: (0, 0.0), **views(self.config.game)}
        number, strength = named[name]
        pixels = self._pixels(iteration, image)
        if not strength:
            return pixels
        seed = (self.config.seed, iteration, number)
        total = len(self.images) + len(self._copied(iteration))
        with self._lock:
            key = view_keys(*seed, total)[image]
            return seen(key[None], pixels[None], strength)[0]

    def _pixels(self, iteration: int, image: int) -> np.ndarray:
        """Of an image, or of a copy by its number behind them."""
        if image < len(self.images):
            return self.images[image]
        game = self._copied(iteration)[image - len(self.images)]
        # All arms are given the same copies.
        games = [r for arm in self.arms for r in self.games(arm, iteration)]
        for record in games:
            if record.game == game and record.copy is not None:
                (numbered,), images = with_copies([record], self)
                return images[numbered.images[record.copy]]
        raise IndexError(f"Game {game} of iteration {iteration} is to come.")

    def _copied(self, iteration: int) -> list[int]:
        """Games that have a copy."""
        games = self.config.game.games
        return copied_games(self.config, iteration, games)


@functools.lru_cache(SHARDS_KEPT)
def _read(
    path: pathlib.Path, file: storage.File, method: str
) -> Sequence[Record]:
    """Of a shard; by `file` one that was written again is a new one."""
    del file
    return tuple(read_shard(path, METHODS[method].record))


def _last_change(root: pathlib.Path) -> float:
    """When anything of the run was written, seconds of the epoch."""
    return max(
        file.changed
        for name, file in storage.files_in(root).items()
        if name.startswith("arms/") or name == storage.CONFIG
    )
