"""The entry point: `python -m vlm_games.main --config=... --workdir=...`.

With --dry_run it only tells how much memory the run would take.
"""

import errno
import pathlib
import sys
import time

import jax
from absl import app, flags, logging
from ml_collections import config_flags
from tqdm import tqdm

from vlm_games.data.records import RecordError
from vlm_games.data.workdir import Workdir, WorkdirError
from vlm_games.fine_tune import DivergedError
from vlm_games.planning.dry_run import dry_run
from vlm_games.preemption import Notice
from vlm_games.report_run import finish
from vlm_games.self_improve import self_improve
from vlm_games.workbench import Run, build

_CONFIG = config_flags.DEFINE_config_file("config", None, "Config file.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.")
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Only tell the memory it takes.")
_DEVICES = flags.DEFINE_integer(
    "devices", None, "Of a --dry_run; those that are there if not given.", 1
)
_MEMORY = flags.DEFINE_float("memory_gib", 80.0, "Of a device, in --dry_run.")

# What a user can mend; anything else is a fault of ours and keeps its trace.
USER_ERRORS = (
    WorkdirError,
    DivergedError,
    RecordError,
    FileNotFoundError,
    ValueError,
    OSError,
)

# No room on the disk, in a quota, or below a limit on the size of files.
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Bars:
    """One progress bar per phase, on stderr."""

    def __init__(self):
        self._what, self._bar = None, None

    def __call__(self, what: str, done: int, of: int) -> None:
        if what != self._what:
            self.close()
            self._bar = tqdm(total=of, desc=f"{what:<22}", file=sys.stderr)
            self._what = what
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Ends the bar in hand."""
        if self._bar is not None:
            self._bar.update(self._bar.total - self._bar.n)
            self._bar.close()
        self._what = self._bar = None


def main(argv) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unknown arguments: {' '.join(argv[1:])}")
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)
    if _DRY_RUN.value:
        sys.exit(tell_memory(_CONFIG.value))
    started, notice = time.time(), Notice()
    notice.listen()
    config, workdir = _CONFIG.value, Workdir(_WORKDIR.value)
    bars = Bars()
    try:
        setup = build(config)
        workdir.claim(config.to_dict() | {"digests": setup.digests})
        run = Run(config, setup, workdir, bars, notice)
        results = self_improve(run)
        bars.close()
        print(finish(run, results, time.time() - started))
    except USER_ERRORS as error:
        bars.close()
        logging.vlog(1, "trace", exc_info=True)
        sys.exit(f"vlm_games: {tell(error)}")


def tell(error: Exception) -> str:
    """What the user is told of an error."""
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return (
            f"{error.filename or 'A file'} cannot be written: "
            f"{error.strerror}. Make room and start the same command again; "
            "what was finished is whole, and the run goes on from there."
        )
    return str(error)


def tell_memory(config) -> int:
    """Prints the table of a dry run; exit status 1 if it does not fit."""
    if _DEVICES.value:  # none that is there is touched
        jax.config.update("jax_platforms", "cpu")
    devices = _DEVICES.value or jax.device_count()
    path = config_flags.get_config_filename(flags.FLAGS["config"])
    folder = pathlib.Path(path).parent
    try:
        text, fits = dry_run(config, devices, folder, _MEMORY.value)
    except USER_ERRORS as error:
        sys.exit(f"vlm_games: {error}")
    print(text)
    return 0 if fits else 1


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    flags.register_multi_flags_validator(
        ["workdir", "dry_run"],
        lambda given: given["workdir"] is not None or given["dry_run"],
        message="--workdir must be given, unless with --dry_run.",
    )
    app.run(main)
