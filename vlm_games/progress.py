"""How far a run is, on a terminal, in a log or below a notebook's cell."""

import sys
import threading
from typing import Any, TextIO

from tqdm import tqdm

from vlm_games import hosts

WAIT = "preparing, compiling"


class Bars:
    """One progress bar per phase, with its rate and time left.

    On a terminal it moves ten times a second, and its clock while nothing else
    does; elsewhere every half minute, so that a log stays short. Until the
    first thing is done it says WAIT. Of several hosts the first has them.
    """

    def __init__(self, file: TextIO | None = None, unit: str = "candidate"):
        """`file` is stderr if not given; in a notebook take `sys.stdout`.

        `unit` is what is played, as a method calls it.
        """
        self._file = file
        self._units = {"play": unit, "measure": "part"}
        self._what: str | None = None
        self._bar: Any = None
        self._over = threading.Event()  # of the bar in hand

    def __call__(self, what: str, done: int, of: int) -> None:
        if what != self._what:
            self.close()
            file = self._file or sys.stderr
            self._bar = tqdm(
                total=of,
                initial=done,  # what was there before tells nothing of speed
                desc=f"{what:<22}",
                unit=self._units.get(what.rpartition(" ")[2], "step"),
                postfix=WAIT,
                file=file,
                mininterval=0.1 if file.isatty() else 30.0,
                disable=not hosts.is_first(),
            )
            self._what, self._over = what, threading.Event()
            if file.isatty():
                _tick(self._bar, self._over)
        elif done > self._bar.n:
            self._bar.set_postfix_str("", refresh=False)
        self._bar.update(done - self._bar.n)
        if done == of:  # the last bar of a run, which nothing may close
            self._bar.refresh()

    def close(self, finished: bool = True) -> None:
        """Ends the bar in hand: full, unless it is not `finished` or nothing
        of it was done."""
        if self._bar is not None:
            self._over.set()
            if finished and self._bar.n > self._bar.initial:
                self._bar.set_postfix_str("", refresh=False)
                self._bar.update(self._bar.total - self._bar.n)
            self._bar.close()
        self._what = self._bar = None


def _tick(bar: tqdm, over: threading.Event) -> None:
    """Shows the bar anew every second, by a thread, until it is over."""

    def tick():
        while not over.wait(1.0):
            bar.refresh()

    threading.Thread(target=tick, daemon=True).start()
