"""Processes of a run of several hosts, on loopback."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

from program import ROOT

WAIT = 1800  # seconds that processes are given, however busy the cores are


class Processes:
    """A run on loopback. `script`, for Python, is told HOSTS HOST PORT, and
    what is `behind`."""

    def __init__(self, cache, count: int, script, *behind):
        self.folder = pathlib.Path(tempfile.mkdtemp(dir=cache.parent))
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = found.getsockname()[1]
        self.found = [
            self._start(cache, script, count, host, port, *behind)
            for host in range(count)
        ]

    def _start(self, cache, script, count, host, *behind):
        with open(self.folder / str(host), "w") as output:
            return subprocess.Popen(
                [sys.executable, *script, *map(str, (count, host, *behind))],
                env={
                    **os.environ,
                    "PYTHONPATH": str(ROOT),
                    "JAX_COMPILATION_CACHE_DIR": str(cache),
                    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
                },
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def kill(self, host: int, sign: pathlib.Path, number=signal.SIGKILL):
        """Sends a host a signal as soon as a file is there."""
        until = time.monotonic() + WAIT
        while not sign.exists() and time.monotonic() < until:
            time.sleep(0.1)
        self.found[host].send_signal(number)

    def end(self) -> tuple[list[int], list[str], float]:
        """Exit codes, outputs, and seconds from the first end to the last."""
        ended, until = [], time.monotonic() + WAIT
        while len(ended) < len(self.found) and time.monotonic() < until:
            time.sleep(0.1)
            codes = [process.poll() for process in self.found]
            gone = len(codes) - codes.count(None)
            ended += [time.monotonic()] * (gone - len(ended))
        for process in self.found:
            process.kill()
            process.wait()
        texts = [
            (self.folder / str(host)).read_text()
            for host in range(len(self.found))
        ]
        codes = [process.returncode for process in self.found]
        return codes, texts, ended[-1] - ended[0]
