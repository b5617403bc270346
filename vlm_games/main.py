"""Runs a config: play, filter, train, measure, round by round.

    python -m vlm_games.main --config=scenes --workdir=/tmp/scenes

A run that was stopped goes on with the same command. With --dry_run it only
tells what it would do: sets, examples, memory of each device, cost.

    python -m vlm_games.main --config=llava --dry_run --devices=8
"""

import pathlib
import sys

import jax
from absl import flags
from ml_collections import config_flags

from vlm_games import command_line
from vlm_games.data.workdir import WorkdirError
from vlm_games.fine_tune import DivergedError
from vlm_games.planning.dry_run import dry_run
from vlm_games.planning.plan import Device
from vlm_games.preemption import Notice
from vlm_games.progress import Bars
from vlm_games.whole_run import carry_out

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


def main() -> int:
    config = _CONFIG.value
    if _DRY_RUN.value:
        return tell(config)
    if _WORKDIR.value is None:
        raise ValueError(
            "give --workdir, the folder that the run writes to, or --dry_run."
        )
    notice, bars = Notice(), Bars()
    notice.listen()
    try:
        done = carry_out(config, _WORKDIR.value, bars, notice)
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
    print(done.text)
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
