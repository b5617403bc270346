"""The processes of a run: mostly one, on a pod one for each host.

All run the same program on the same config. What each does of its own is
decided by its number; what they exchange goes through the workdir, or is summed
while they train. They wait for one another in `meet`. Of a run of a single
process nothing here waits or asks.
"""

import contextlib
import hashlib
import itertools
import os
import sys
import traceback

import jax
import numpy as np
from absl import logging
from jax.experimental import multihost_utils
from orbax.checkpoint import multihost

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
    if count() > 1:
        # Keys must differ; all processes count the same meetings.
        key = f"vlm_games {next(_meetings)}: {what}"
        barrier = multihost.get_barrier_sync_fn()
        barrier(key=key, timeout_ms=PATIENCE_MS)


def first_says(what: str, number: int) -> int:
    """The number that host 0 has.

    What lies on disk is for host 0 to say: who looks later may see more.
    """
    if count() == 1:
        return number
    meet(what)
    return int(multihost_utils.broadcast_one_to_all(np.int32(number)))


def share(items) -> list:
    """This process's part of `items`, which all have alike."""
    return list(items)[index() :: count()]


def total(number: int) -> int:
    """The sum of every process's number."""
    if count() == 1:
        return number
    halves = np.array(divmod(number, 1 << 31), np.int32)  # JAX has no int64
    high, low = multihost_utils.process_allgather(halves).T.astype(int)
    return int(high.sum() << 31) + int(low.sum())


def agree(what: str, value) -> None:
    """Checks that all processes have the same.

    Args:
      value: anything whose `repr` tells all of it.

    Raises:
      HostsError: they do not; it names `what` and who differs from host 0.
    """
    if count() == 1:
        return
    digest = hashlib.sha256(repr(value).encode()).digest()[:8]
    digests = multihost_utils.process_allgather(np.frombuffer(digest, np.uint8))
    differ = [i for i, x in enumerate(digests) if (x != digests[0]).any()]
    if differ:
        raise HostsError(
            f"{what}: hosts {differ} have another one than host 0. All hosts "
            "need the same program, config, base, images and workdir, and "
            "devices of one kind."
        )


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
