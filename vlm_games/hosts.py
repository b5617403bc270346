"""The processes of a run: mostly one, on a pod one for each host.

All run the same program on the same config. What each does of its own is
decided by its number; what they exchange goes through the workdir, or is summed
while they train. They wait for one another in `meet`. Of a run of a single
process nothing here waits or asks.
"""

import contextlib
import hashlib
import itertools
import json
import os
import sys
import traceback

import jax
from absl import logging

# JAX has no public name for what its processes can tell one another without
# their devices, which may be busy, or late by more than Gloo waits.
from jax._src import distributed

# Seconds without a sign of life until a process counts as dead.
HEARTBEAT = 30
# A meeting may wait for a whole measure: who dies meanwhile is found by its
# heartbeat, not by this.
PATIENCE_MS = 7 * 24 * 3600 * 1000

_meetings = itertools.count()


class HostsError(RuntimeError):
    """The processes cannot begin or go on together; the message says why."""


def connect(hosts: str, coordinator: str | None, host: int | None) -> None:
    """Joins the processes of a run; before anything asks for a device.

    Args:
      hosts: "1" for a run of a single process; "auto" where the cluster tells
        each its number (Cloud TPU, Slurm, Kubernetes); else how many there are.
      coordinator: "address:port" of process 0, if `hosts` is a number.
      host: the number of this one, from 0.

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
        jax.distributed.initialize(
            **given,
            heartbeat_timeout_seconds=HEARTBEAT,
            shutdown_timeout_seconds=HEARTBEAT,
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


def meet(what: str) -> None:
    """Waits until all processes have come here.

    Files that one of them wrote before are there for all of them after it.
    """
    _tell(what, None)


def first_says(what: str, value):
    """The value that host 0 has; anything that JSON holds.

    What lies on disk is for host 0 to say: who looks later may see more.
    """
    return _tell(what, value)[0]


def share(items) -> list:
    """This process's part of `items`, which all have alike."""
    return list(items)[index() :: count()]


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

    Raises:
      HostsError: another one has come elsewhere.
    """
    if count() == 1:
        return [value]
    client = distributed.global_state.client
    key = f"vlm_games/{next(_meetings)}"  # all count the same meetings
    client.key_value_set(f"{key}/{index()}", json.dumps([what, value]))
    client.wait_at_barrier(key, PATIENCE_MS)
    found = [
        json.loads(client.key_value_try_get(f"{key}/{host}"))
        for host in range(count())
    ]
    for host, (other, _) in enumerate(found):
        if other != what:
            raise HostsError(
                f"Host {index()} has come to {what!r}, host {host} to "
                f"{other!r}: they see other files, or run other programs."
            )
    return [told for _, told in found]


@contextlib.contextmanager
def errors_told():
    """Of several processes ends this one at once on an error, and says why.

    Otherwise it would wait at its exit for the others, and they for it.
    """
    try:
        yield
    except BaseException as error:
        if count() == 1:
            raise
        if isinstance(error, SystemExit):
            told = error.code
        elif isinstance(error, jax.errors.JaxRuntimeError):
            told = (
                f"vlm_games: host {index()} stops, since it lost another one "
                f"({str(error).splitlines()[0]}). Look at the messages of the "
                "others; start all again, and the run goes on where it was."
            )
        else:
            told = traceback.format_exc()
        print(told, file=sys.stderr, flush=True)
        sys.stdout.flush()
        os._exit(1)
