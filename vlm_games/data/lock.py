"""A run's folder is one process's own while it runs.

On a disk the system's lock on W/.lock, which goes with its process. In a bucket
an object W/.lock, which is written on the condition that nobody else has
written it meanwhile:

    there is none        it is written, and written again every RENEW seconds
    there is one, and    it changes: its owner lives, the second run refuses
    one looks at it      it stays as it is for STALE seconds: its owner was
                         killed, and it is written over

No clocks are compared: whoever comes second sees by its own how long nothing
changed.
"""

import contextlib
import fcntl
import json
import os
import pathlib
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from absl import logging

from vlm_games import host_watch
from vlm_games.data import storage
from vlm_games.data.listing import is_remote

NAME = ".lock"
RENEW, STALE = 10.0, 60.0  # seconds; see above


class WorkdirError(RuntimeError):
    """The workdir cannot be used for this run; the message says why."""


def take(root: pathlib.Path) -> "FolderLock | BucketLock":
    """Locks a folder, which is made if need be, until `release`.

    Raises:
      WorkdirError: another process holds it.
    """
    if is_remote(root):
        return BucketLock(root, RENEW, STALE)
    return FolderLock(root)


class FolderLock:
    """The system's lock on a file."""

    def __init__(self, root: pathlib.Path):
        root.mkdir(parents=True, exist_ok=True)
        self._file = open(root / NAME, "w")  # noqa: SIM115
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.release()
            raise WorkdirError(
                f"Another process is running in {root}. Wait for it, or "
                "give this run a --workdir of its own."
            ) from error

    def release(self) -> None:
        self._file.close()


class BucketLock:
    """An object of a bucket that is written again and again."""

    def __init__(
        self,
        root: pathlib.Path,
        renew: float,
        stale: float,
        lost: Callable[[str], None] | None = None,
    ):
        """Takes the lock, which may take `stale` seconds.

        Args:
          renew, stale: seconds; see above.
          lost: called, from another thread, with what is to be said if another
            process has taken the lock; if not given, it ends this process.
        """
        self._root, self._renew, self._stale = root, renew, stale
        self._lost = lost or end_all
        self._kept = storage.kv_store(root)
        said = {"host": socket.gethostname(), "process": os.getpid()}
        self._mine = json.dumps(said | {"run": uuid.uuid4().hex}).encode()
        self._generation = self._take()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Deletes the object, unless it is another's by now."""
        self._over.set()
        self._thread.join()
        with contextlib.suppress(Exception):  # else it lapses
            self._kept.write(NAME, None, if_equal=self._generation).result()

    def _take(self) -> bytes:
        """Writes the object as soon as nobody holds it; its generation."""
        seen, since = None, 0.0
        while True:
            found = self._kept.read(NAME).result()
            there, generation = found.state == "value", found.stamp.generation
            if found.value == self._mine:  # a write that was tried twice
                return generation
            if there and seen is None:
                seen, since = generation, time.monotonic()
                logging.warning(
                    "%s is or was another process's (%s): looking for up to "
                    "%.0f s whether it is alive.",
                    self._root,
                    _owner(found.value),
                    self._stale,
                )
            if there and generation != seen:
                raise WorkdirError(
                    f"Another process is running in {self._root} "
                    f"({_owner(found.value)}): it has renewed its lock just "
                    "now. Wait for it, or give this run a --workdir of its "
                    "own. If it is killed, its lock lapses "
                    f"{self._stale:.0f} s later."
                )
            if not there or time.monotonic() - since >= self._stale:
                written = self._write(generation)
                if written:
                    return written
                seen = None  # another was quicker
            else:
                time.sleep(self._renew / 4)

    def _write(self, generation: bytes) -> bytes:
        """The new generation; empty if the object is not of the old one."""
        done = self._kept.write(NAME, self._mine, if_equal=generation)
        return done.result().generation

    def _keep(self) -> None:
        """Writes the object anew until the end."""
        while not self._over.wait(self._renew):
            try:
                written = self._write(self._generation)
                if not written:
                    found = self._kept.read(NAME).result()
                    if found.value != self._mine:
                        return self._lost(
                            f"{self._root} is another process's by now "
                            f"({_owner(found.value)}), since this one did not "
                            f"renew its lock for {self._stale:.0f} s, or "
                            "somebody deleted it."
                        )
                    written = found.stamp.generation
                self._generation = written
            except Exception as error:  # the network may come back
                logging.warning("%s/%s: %s", self._root, NAME, error)


def _owner(content: bytes) -> str:
    """Of a lock, in words."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        said: Any = json.loads(content)
        return f"host {said['host']}, process {said['process']}"
    return "nobody known"


def end_all(told: str) -> None:
    """Ends this process, and the other hosts with it."""
    print(f"vlm_games: {told}", file=sys.stderr, flush=True)
    with contextlib.suppress(Exception):  # they miss this one's signs of life
        host_watch.post(host_watch.STOPPED)
    host_watch.leave(1)
