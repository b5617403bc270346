"""The processes of a run: mostly one, on a pod one for each host.

All run the same program on the same config. What each does of its own is
decided by its number; what they exchange goes through the workdir, or is summed
while they train. They wait for one another in `meet` and its like, and leave
together: see `host_watch`. Of a run of a single process nothing here waits or
asks.
"""

import hashlib
import itertools
import json
import time
from collections.abc import Callable
from typing import Any

import jax
from absl import logging

# JAX has no public name for what its processes can tell one another without
# their devices, which may be busy, or late by more than Gloo waits.
from jax._src import distributed

# Seconds without a sign of life until a process counts as lost. Signs come
# every LISTEN, by a thread that may wait seconds for its turn where cores are
# busy with something else.
HEARTBEAT = 45
LISTEN = 0.5  # seconds between two looks at what others tell
ROOM = "vlm_games"  # of the keys that are ours in JAX's store

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
      heartbeat: seconds without a sign of life until one counts as lost.

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
    # JAX's own signs of life end a process without a word of ours, so that
    # they come second: for one in which `host_watch` is stuck itself.
    try:
        jax.distributed.initialize(
            **given, heartbeat_timeout_seconds=2 * heartbeat
        )
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
    kept = store()
    number = next(_meetings)  # all count the same meetings
    mine = f"{ROOM}/{number}/{index()}"
    kept.key_value_set(mine, json.dumps([what, value]))
    pause = 0.001
    while len(found := kept.key_value_dir_get(f"{ROOM}/{number}")) < count():
        time.sleep(pause)
        pause = min(2 * pause, LISTEN)
    if is_first() and number:  # who is here has read all of the last one
        kept.key_value_delete(f"{ROOM}/{number - 1}")
    told = {host_of(key): json.loads(text) for key, text in found}
    for host, (other, _) in sorted(told.items()):
        if other != what:
            raise HostsError(
                f"Host {index()} has come to {what!r}, host {host} to "
                f"{other!r}: they see other files, or run other programs."
            )
    return [told[host][1] for host in range(count())]


def store() -> Any:
    """JAX's, by which processes tell one another without their devices."""
    return distributed.global_state.client


def host_of(key: str) -> int:
    """The process that set a key of the store: its last part."""
    return int(key.rpartition("/")[2])
