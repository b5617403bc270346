"""Runs a config: play, filter, train, measure, round by round.

    python -m vlm_games.main --config=scenes --workdir=/tmp/scenes

A run that was stopped goes on with the same command. With --dry_run it only
tells what it would do: sets, examples, memory of each device, cost.

    python -m vlm_games.main --config=llava --dry_run --devices=8
"""

import pathlib
import sys
import time
from typing import Any

import jax
from absl import flags
from ml_collections import config_flags
from tqdm import tqdm

from vlm_games import command_line
from vlm_games.data.workdir import Workdir, WorkdirError
from vlm_games.fine_tune import DivergedError
from vlm_games.planning.dry_run import dry_run
from vlm_games.planning.plan import Device
from vlm_games.preemption import Notice
from vlm_games.report_run import finish
from vlm_games.self_improve import self_improve
from vlm_games.workbench import Run, build

_CONFIG = command_line.define_config()
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run; a new one, or one to go on with."
)
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Only tell what would be done.")
_DEVICES = flags.DEFINE_integer(
    "devices",
    None,
    "Of a --dry_run: how many devices; those that are there if not given.",
    1,
)
_MEMORY = flags.DEFINE_float(
    "memory_gib", 80.0, "Of a --dry_run: memory of a device, GiB."
)
_SPEED = flags.DEFINE_float(
    "tflops", 100.0, "Of a --dry_run: what a device keeps up, TFLOP/s."
)


class Bars:
    """One progress bar per phase, on stderr, with its rate and time left.

    In a file a line is added every half minute, not ten times a second.
    """

    def __init__(self):
        self._what: str | None = None
        self._bar: Any = None

    def __call__(self, what: str, done: int, of: int) -> None:
        if what != self._what:
            self.close()
            self._bar = tqdm(
                total=of,
                desc=f"{what:<22}",
                unit=_unit(what),
                file=sys.stderr,
                mininterval=0.1 if sys.stderr.isatty() else 30.0,
            )
            self._what = what
        self._bar.update(done - self._bar.n)

    def close(self, finished: bool = True) -> None:
        """Ends the bar in hand, where it stands if it is not `finished`."""
        if self._bar is not None:
            if finished:
                self._bar.update(self._bar.total - self._bar.n)
            self._bar.close()
        self._what = self._bar = None


def _unit(what: str) -> str:
    """What is counted in a phase that is called so."""
    phase = what.rpartition(" ")[2]
    return {"play": "shard", "measure": "part"}.get(phase, "step")


def main() -> int:
    config = _CONFIG.value
    if _DRY_RUN.value:
        return tell(config)
    if _WORKDIR.value is None:
        raise ValueError(
            "give --workdir, the folder that the run writes to, or --dry_run."
        )
    started, notice = time.time(), Notice()
    notice.listen()
    workdir, bars = Workdir(_WORKDIR.value), Bars()
    try:
        setup = build(config)
        workdir.claim(config.to_dict() | {"digests": setup.digests})
        run = Run(config, setup, workdir, bars, notice)
        results = self_improve(run)
        bars.close()
    except KeyboardInterrupt:
        bars.close(finished=False)
        print(
            "vlm_games: stopped; the same command goes on from here.",
            file=sys.stderr,
        )
        return 130  # as shells say it of an interrupt
    finally:
        bars.close(finished=False)
    print(finish(run, results, time.time() - started))
    return 0


def tell(config) -> int:
    """Prints a dry run; exit status 1 if it does not fit."""
    if _DEVICES.value:  # none that is there is touched
        jax.config.update("jax_platforms", "cpu")
    device = Device(
        _DEVICES.value or jax.device_count(), _MEMORY.value, _SPEED.value
    )
    path = config_flags.get_config_filename(flags.FLAGS["config"])
    text, fits = dry_run(config, device, pathlib.Path(path).parent)
    print(text)
    return 0 if fits else 1


if __name__ == "__main__":
    command_line.run(main, ["config"], (WorkdirError, DivergedError))
