"""Of several processes none goes on without the others.

Within `together` each gives signs of life by a thread of its own, looks for
those of the others, and reads the board, on which whoever has a word for all
puts it. Who is gone is known so:

    a host that met an error            its word STOPPED       at once
    a host but 0, killed or cut off     no new sign            --heartbeat
    host 0, killed: with it JAX's store
    goes, and JAX aborts the others     see `_answer_abort`    at once
    host 0, hung or cut off             the store is silent    --heartbeat

The others say who is gone, what is kept and how to go on, and end at once.
"""

import contextlib
import ctypes
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import NoReturn

import jax

from vlm_games import hosts
from vlm_games.hosts import LISTEN, ROOM

# Exit code of the others where a host is gone; EX_UNAVAILABLE of sysexits.h.
EXIT_LOST = 69
NOTICE, STOPPED, LOST, PARTED = "notice", "stopped", "lost", "parted"
SIGN = "sign"  # of life, on the board as well: a number that grows
LINGER = 10.0  # seconds that host 0 stays for the others to hear of its end
# Seconds without a sign that are enough where a collective has failed, since
# then somebody is to blame.
SUSPECT = 5.0
REACH = 3.0  # seconds to reach the store's port
# What is raised where another host may be to blame: of Orbax's, which meets in
# JAX's store and forgets what that said, it is a TimeoutError.
FAILED_TOGETHER = (jax.errors.JaxRuntimeError, TimeoutError)

# One thread ends the process, whoever is first; an end within an end, as by a
# signal, goes on.
_ending = threading.RLock()


# The board --------------------------------------------------------------------


def post(word: str, text: str = "") -> None:
    """Puts a word on the board; alone, or before `connect`, nothing is done."""
    state = hosts.distributed.global_state
    if state.client is not None:
        key = f"{ROOM}/{word}/{state.process_id}"
        state.client.key_value_set(key, text, allow_overwrite=True)


def posted(word: str) -> dict[int, str]:
    """Who posted a word, by number, and the text with it."""
    found = hosts.store().key_value_dir_get(f"{ROOM}/{word}")
    return {hosts.host_of(key): text for key, text in sorted(found)}


def leave(status: int, lost: Iterable[int] = ()) -> NoReturn:
    """Ends this process at once, and not without the others.

    A usual exit would wait for those that do not come. Host 0 holds the board:
    it stays until all have left but the `lost`, or a few seconds.
    """
    _ending.acquire()
    state, until = hosts.distributed.global_state, time.monotonic() + LINGER
    if state.client is not None:
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            if state.process_id and 0 not in lost:
                post(PARTED)
            others = set(range(1, state.num_processes)) - set(lost)
            while (
                state.process_id == 0
                and others - set(posted(PARTED))
                and time.monotonic() < until
            ):
                time.sleep(0.1)
    os._exit(status)


# Ending together --------------------------------------------------------------


@contextlib.contextmanager
def together(
    noticed: Callable[[], None],
    kept: Callable[[], str],
    heartbeat: float = hosts.HEARTBEAT,
) -> Iterator[None]:
    """Within, of several processes none goes on without the others.

    One that meets an error says so and ends at once, and so do the others as
    soon as they hear of it, or miss its signs of life.

    Args:
      noticed: called when one has posted NOTICE, from another thread.
      kept: what is told of what is kept and how to go on, where one is lost.
      heartbeat: seconds without a sign of life until one counts as lost.
    """
    if hosts.count() == 1:
        yield
        return
    watch = Watch(noticed, kept, heartbeat)
    watch.start()
    with _answer_abort(watch):  # also while `_stop` looks for who is gone
        try:
            yield
        except BaseException as error:
            _stop(error, watch)
        finally:
            watch.over.set()


class Watch(threading.Thread):
    """Gives this process's signs of life, and looks for those of the others.

    Attributes:
      over: to be set when nobody is to be watched any more.
      patience: seconds without a sign of life until one counts as lost.
    """

    def __init__(self, noticed, kept, heartbeat: float):
        super().__init__(daemon=True)
        self.over, self.patience = threading.Event(), heartbeat
        self.noticed, self._kept = noticed, kept
        self._heard = False
        self._watched = 0.0  # seconds in which this process looked
        self._signs: dict[int, str | None] = {}
        # Seconds in which no new sign came, while this process looked.
        self._silent = dict.fromkeys(range(hosts.count()), 0.0)
        self._silent.pop(hosts.index())

    def run(self) -> None:
        looked = time.monotonic()
        while not self.over.wait(LISTEN):
            now = time.monotonic()
            # What this process slept through says nothing of the others.
            passed, looked = min(now - looked, 2 * LISTEN), now
            try:
                self._look(passed)
            except jax.errors.JaxRuntimeError:
                if not hosts.is_first() and not self.over.is_set():
                    self.give_up([0], "it does not answer any more")
            self._watched += passed

    def _look(self, passed: float) -> None:
        """One look at the board, `passed` seconds after the last."""
        if not hosts.is_first():  # this call alone ends where nobody answers
            hosts.store().blocking_key_value_get(
                f"{ROOM}/{SIGN}/0", int(1000 * self.patience)
            )
        post(SIGN, str(time.monotonic_ns()))
        if stopped := posted(STOPPED):
            self._follow(min(stopped))
        for text in posted(LOST).values():
            numbers, _, why = text.partition(":")
            self.give_up([int(host) for host in numbers.split(",")], why)
        if not self._heard and posted(NOTICE):
            self._heard = True
            self.noticed()
        signs = posted(SIGN)
        for host in self._silent:
            new = signs.get(host) != self._signs.get(host)
            self._silent[host] = 0.0 if new else self._silent[host] + passed
        self._signs = dict(signs)
        lost = [h for h, s in self._silent.items() if s >= self.patience]
        if lost:
            why = f"no sign of life for {self.patience:.0f} s"
            post(LOST, f"{','.join(map(str, lost))}:{why}")
            self.give_up(lost, why)

    def _follow(self, host: int) -> NoReturn:
        """Ends this process, since another did."""
        _ending.acquire()
        _say(
            f"vlm_games: host {hosts.index()} stops, since host {host} did; "
            "see what that one said."
        )
        leave(1)

    def give_up(self, lost: list[int], why: str) -> NoReturn:
        """Ends this process, since others are gone."""
        _ending.acquire()
        who = ", ".join(f"host {host}" for host in lost)
        _say(
            f"vlm_games: host {hosts.index()} stops, since {who} of "
            f"{hosts.count()} is gone ({why}): killed, or its machine or "
            "network is down."
        )
        # The file system may have gone with the host: no wait for it.
        told: list[str] = []
        asking = threading.Thread(
            target=lambda: told.append(self._kept()), daemon=True
        )
        asking.start()
        asking.join(REACH)
        _say("\n".join(told))
        leave(EXIT_LOST, lost)

    def suspect(self) -> None:
        """Returns unless another process is to blame for what has failed."""
        self.patience = min(self.patience, SUSPECT)
        until = self._watched + 2 * SUSPECT
        while self._watched < until and self.is_alive():
            time.sleep(LISTEN)


def _stop(error: BaseException, watch: Watch) -> NoReturn:
    """Ends this process, one of several, on an error."""
    status: str | int | None = 1
    if isinstance(error, SystemExit):
        status = error.code
        told = status if isinstance(status, str) else ""
    else:
        told = traceback.format_exc()
    if isinstance(error, FAILED_TOGETHER):
        line = str(error).partition("\n")[0]
        _say(f"vlm_games: host {hosts.index()} looks for who is gone: {line}")
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            if posted(NOTICE):
                watch.noticed()
        watch.suspect()
    _ending.acquire()
    if told:
        _say(told)
    with contextlib.suppress(jax.errors.JaxRuntimeError):
        post(STOPPED)
    leave(status if isinstance(status, int) else 1)


@contextlib.contextmanager
def _answer_abort(watch: Watch) -> Iterator[None]:
    """Within, JAX's abort of this process is said in our words.

    Where host 0 is gone a thread of JAX's runtime aborts the process, and JAX
    (0.10, 0.11) has no way to ask for anything else: its callback for this
    takes an argument that Python cannot be given. `signal.signal` will not do,
    since it only notes a signal for the main thread, and abort() does not
    wait. A handler of C's is called by abort() itself, in the thread that
    aborts, which waits for Python's lock as any thread does.
    """

    @ctypes.CFUNCTYPE(None, ctypes.c_int)
    def aborted(number):
        if hosts.is_first() or _reached():
            return  # something else was wrong, which JAX has told
        if not _ending.acquire(timeout=LINGER):
            return
        watch.give_up([0], "its port is closed")

    libc = ctypes.CDLL(None)
    libc.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
    libc.signal.restype = ctypes.c_void_p
    before = libc.signal(signal.SIGABRT, ctypes.cast(aborted, ctypes.c_void_p))
    try:
        yield
    finally:
        libc.signal(signal.SIGABRT, before)


def _reached() -> bool:
    """Whether anybody listens where host 0 had its store.

    The system may close what a killed process listened on some time after
    what it spoke through, whose end was noticed first.
    """
    where = hosts.distributed.global_state.coordinator_address or ""
    address, _, port = where.rpartition(":")
    place = (address.strip("[]"), int(port))
    until = time.monotonic() + REACH
    while time.monotonic() < until:
        try:
            socket.create_connection(place, REACH).close()
        except OSError:
            return False
        time.sleep(0.1)
    return True


def _say(told: str) -> None:
    print(told, file=sys.stderr, flush=True)
    sys.stdout.flush()
