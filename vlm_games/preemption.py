"""SIGTERM, by which a machine is taken back: save what is in hand, and leave.

Cloud TPU, Kubernetes and Slurm send it some half a minute before the machine
goes. Nearly all of a run is on disk already, so that it may leave at once;
only training has something in hand that is worth a save. Of several hosts a
notice to one is one to all: they save the same step, and all leave.
"""

import contextlib
import os
import signal

from vlm_games import host_watch, hosts

# EX_TEMPFAIL of sysexits.h: nothing is wrong, the same command goes on.
EXIT_PREEMPTED = 75


class Notice:
    """Whether the machine is wanted back; not before `listen`.

    Attributes:
      given: whether SIGTERM has come, or another host has told of it.
    """

    def __init__(self):
        self.given, self._held = False, 0

    def listen(self) -> None:
        """Heeds SIGTERM from now on; from the main thread alone."""
        signal.signal(signal.SIGTERM, self._heed)

    def _heed(self, number, frame) -> None:
        host_watch.post(host_watch.NOTICE)
        self.take()

    def take(self) -> None:
        """Notice is given: leaves, unless the process is held."""
        self.given = True
        if not self._held:
            leave()

    @contextlib.contextmanager
    def held(self):
        """Within, the process stays until `obey`, or until the end of it.

        All hosts come here together, and leave it together.
        """
        # Whoever is given notice before the others are held leaves at once.
        hosts.meet("held")
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
        if not self._held:
            self.obey()

    def agreed(self) -> bool:
        """Whether notice was given to any host; all of them ask together."""
        return hosts.any_has("notice", self.given)

    def obey(self) -> None:
        """Leaves if notice was given; all hosts come here together."""
        if self.agreed():
            leave()


def leave() -> None:
    """Ends the process with EXIT_PREEMPTED, wherever it stands.

    As abruptly as kill -9, from which every file is safe: to unwind would
    wait for threads that write what nobody will read.
    """
    told = (
        "\nvlm_games: told to leave (SIGTERM). All that is finished is saved; "
        "the same command goes on from there.\n"
    )
    os.write(2, told.encode())  # print is not safe within a signal handler
    host_watch.leave(EXIT_PREEMPTED)
