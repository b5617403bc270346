"""The processes of a run: mostly one, on a pod one for each host.

All run the same program on the same config. What each does of its own is
decided by its number; what they exchange goes through the workdir, or is summed
while they train. They wait for one another in `meet` and its like, and leave
together: see `together`. Of a run of a single process nothing here waits, asks
or is started.
"""

import contextlib
import hashlib
import itertools
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import jax
from absl import logging

# JAX has no public name for what its processes can tell one another without
# their devices, which may be busy, or late by more than Gloo waits.
from jax._src import distributed

# Seconds without a sign of life until a process counts as dead. Twice in this
# time one is sent; it takes several turns of threads in two processes, which
# may be seconds each where cores are busy with something else.
HEARTBEAT = 45
ROOM = "vlm_games"  # of the keys that are ours in JAX's store
NOTICE, STOPPED, PARTED = "notice", "stopped", "parted"  # words on the board
LINGER = 10.0  # seconds that host 0 stays for the others to hear of its end
LISTEN = 0.5  # seconds between two looks at the board

_meetings = itertools.count()


class HostsError(RuntimeError):
    """The processes cannot begin or go on together; the message says why."""


def connect(
    hosts: str,
    coordinator: str | None,
    host: int | None,
    heartbeat: int = HEARTBEAT,
) -> None:
    """Joins the processes of a run; before anything asks for a device.

    Args:
      hosts: "1" for a run of a single process; "auto" where the cluster tells
        each its number (Cloud TPU, Slurm, Kubernetes); else how many there are.
      coordinator: "address:port" of process 0, if `hosts` is a number.
      host: the number of this one, from 0.
      heartbeat: seconds without a sign of life until one counts as dead.

    Raises:
      ValueError: a flag is missing or out of range.
      HostsError: the others did not come, or the cluster is not known.
    """
    if hosts == "1":
        return
    given = {}
    if hosts != "auto":
        given = _given(hosts, coordinator, host)
    # It would take SIGTERM for itself, and the program would not hear of it.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(**given, heartbeat_timeout_seconds=heartbeat)
    except (RuntimeError, ValueError) as error:
        raise HostsError(
            f"--hosts={hosts}: the processes did not find one another "
            f"({error}). With --hosts=auto JAX asks the cluster; elsewhere "
            "give --hosts=<number>, --coordinator=<address of host 0>:<port> "
            "and --host=<0, 1, ...> to each."
        ) from error
    logging.info("host %d of %d", index(), count())


def _given(hosts: str, coordinator: str | None, host: int | None) -> dict:
    if not hosts.isdigit() or int(hosts) < 1:
        raise ValueError(
            f"--hosts={hosts}: expected a number of processes, or 'auto'."
        )
    if coordinator is None or host is None or not 0 <= host < int(hosts):
        raise ValueError(
            f"--hosts={hosts} needs --coordinator=<address>:<port> and --host "
            f"from 0 to {int(hosts) - 1}; found {coordinator!r} and {host}."
        )
    return {
        "coordinator_address": coordinator,
        "num_processes": int(hosts),
        "process_id": host,
        "cluster_detection_method": "deactivate",
    }


def count() -> int:
    """How many processes there are."""
    return jax.process_count()


def index() -> int:
    """The number of this one, from 0."""
    return jax.process_index()


def is_first() -> bool:
    """Whether this process writes what all have in common."""
    return index() == 0


def share(items) -> list:
    """This process's part of `items`, which all have alike."""
    return list(items)[index() :: count()]


# Meetings: all come to each, in the same order --------------------------------


def meet(what: str) -> None:
    """Waits until all processes have come here.

    Files that one of them wrote before are there for all of them after it.
    """
    _tell(what, None)


def first_says(what: str, look: Callable):
    """What `look` gives on host 0, to all; it is called there alone.

    What lies on disk is for host 0 to say: who looks later may see more.

    Args:
      look: () -> anything that JSON holds.
    """
    return _tell(what, look() if is_first() else None)[0]


def any_has(what: str, yes: bool) -> bool:
    """Whether it is so with any process."""
    return any(_tell(what, yes))


def total(what: str, number: int) -> int:
    """The sum of every process's number."""
    return sum(_tell(what, number))


def agree(what: str, value) -> None:
    """Checks that all processes have the same.

    Args:
      value: anything whose `repr` tells all of it.

    Raises:
      HostsError: they do not; it names `what` and who differs from host 0.
    """
    if count() == 1:
        return
    found = _tell(what, hashlib.sha256(repr(value).encode()).hexdigest())
    differ = [i for i, digest in enumerate(found) if digest != found[0]]
    if differ:
        raise HostsError(
            f"{what}: hosts {differ} have another one than host 0. All hosts "
            "need the same program, config, base, images and workdir, and "
            "devices of one kind."
        )


def _tell(what: str, value) -> list:
    """What every process tells, by its number; all of them come here.

    It looks again and again, and not once for long: between two looks Python
    hears signals.

    Raises:
      HostsError: another one has come elsewhere.
    """
    if count() == 1:
        return [value]
    client = _client()
    number = next(_meetings)  # all count the same meetings
    mine = f"{ROOM}/{number}/{index()}"
    client.key_value_set(mine, json.dumps([what, value]))
    pause = 0.001
    while len(found := client.key_value_dir_get(f"{ROOM}/{number}")) < count():
        time.sleep(pause)
        pause = min(2 * pause, LISTEN)
    if is_first() and number:  # who is here has read all of the last one
        client.key_value_delete(f"{ROOM}/{number - 1}")
    told = {_host(key): json.loads(text) for key, text in found}
    for host, (other, _) in sorted(told.items()):
        if other != what:
            raise HostsError(
                f"Host {index()} has come to {what!r}, host {host} to "
                f"{other!r}: they see other files, or run other programs."
            )
    return [told[host][1] for host in range(count())]


def _client() -> Any:
    """Of JAX's store, by which processes tell one another."""
    return distributed.global_state.client


def _host(key: str) -> int:
    return int(key.rpartition("/")[2])


# The board: whoever has a word for all puts it there --------------------------


def post(word: str) -> None:
    """Puts a word on the board; alone, or before `connect`, nothing is done."""
    state = distributed.global_state
    if state.client is not None:
        key = f"{ROOM}/{word}/{state.process_id}"
        state.client.key_value_set(key, "", allow_overwrite=True)


def posted(word: str) -> list[int]:
    """Numbers of the processes that posted a word."""
    found = _client().key_value_dir_get(f"{ROOM}/{word}")
    return sorted(_host(key) for key, _ in found)


def leave(status: int) -> None:
    """Ends this process at once, and not without the others.

    A usual exit would wait for those that do not come. Host 0 holds what is
    told: it stays until all have left, or a few seconds.
    """
    state, until = distributed.global_state, time.monotonic() + LINGER
    if state.client is not None:
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            post(PARTED)
            while (
                state.process_id == 0
                and len(posted(PARTED)) < state.num_processes
                and time.monotonic() < until
            ):
                time.sleep(0.1)
    os._exit(status)


@contextlib.contextmanager
def together(noticed: Callable[[], None]) -> Iterator[None]:
    """Within, of several processes none goes on without the others.

    One that meets an error says so and ends at once, and so do the others as
    soon as they hear of it.

    Args:
      noticed: called when one has posted NOTICE, from another thread.
    """
    if count() == 1:
        yield
        return
    over = threading.Event()
    threading.Thread(target=_listen, args=(over, noticed), daemon=True).start()
    try:
        yield
    except BaseException as error:
        _stop(error, noticed)
    finally:
        over.set()


def _listen(over: threading.Event, noticed: Callable[[], None]) -> None:
    """Looks at the board until it is `over`."""
    heard = False
    while not over.wait(LISTEN):
        try:
            stopped, given = posted(STOPPED), posted(NOTICE)
        except jax.errors.JaxRuntimeError:
            return  # host 0 is gone, of which JAX's runtime tells
        if stopped:
            _say(
                f"vlm_games: host {index()} stops, since host {stopped[0]} "
                "did; see what that one said."
            )
            leave(1)
        if given and not heard:
            heard = True
            noticed()


def _stop(error: BaseException, noticed: Callable[[], None]) -> None:
    """Ends this process, one of several, on an error."""
    status: str | int | None = 1
    if isinstance(error, SystemExit):
        status = error.code
        told = status if isinstance(status, str) else ""
    elif isinstance(error, jax.errors.JaxRuntimeError):
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            if posted(NOTICE):
                noticed()
        told = (
            f"vlm_games: host {index()} stops, since it lost another one "
            f"({str(error).splitlines()[0]}). Look at the messages of the "
            "others; start all again, and the run goes on where it was."
        )
    else:
        told = traceback.format_exc()
    if told:
        _say(told)
    with contextlib.suppress(jax.errors.JaxRuntimeError):
        post(STOPPED)
    leave(status if isinstance(status, int) else 1)


def _say(told: str) -> None:
    print(told, file=sys.stderr, flush=True)
    sys.stdout.flush()
