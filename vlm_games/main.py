"""Runs a config: play, filter, train, measure, round by round.

    python -m vlm_games.main --config=scenes --workdir=/tmp/scenes

A run that was stopped goes on with the same command. With --dry_run it only
tells what it would do: sets, examples, memory of each device, cost.

    python -m vlm_games.main --config=llava --dry_run --devices=8
"""

import pathlib
import shlex
import sys

import jax
from absl import flags
from ml_collections import config_flags

from vlm_games import command_line, host_watch, hosts
from vlm_games.data.workdir import WorkdirError, last_kept
from vlm_games.fine_tune import DivergedError
from vlm_games.methods.registry import unit_of
from vlm_games.planning.dry_run import dry_run
from vlm_games.planning.plan import find_device
from vlm_games.preemption import Notice
from vlm_games.progress import Bars
from vlm_games.report_run import where_to_look
from vlm_games.whole_run import carry_out

_CONFIG = command_line.define_config()
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Folder of the run, here or gs://bucket/folder; a new one, or one to go on "
    "with.",
)
_HOSTS = flags.DEFINE_string(
    "hosts", "1", "Processes of the run; auto where the cluster tells them."
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "Of several --hosts: <address of host 0>:<free port>."
)
_HOST = flags.DEFINE_integer(
    "host", None, "Of several --hosts: which one this is, from 0.", 0
)
_HEARTBEAT = flags.DEFINE_integer(
    "heartbeat",
    hosts.HEARTBEAT,
    "Of several --hosts: seconds without a sign of life until one is lost.",
    1,
)
_DRY_RUN = command_line.define_dry_run()
_DEVICES = flags.DEFINE_integer(
    "devices",
    None,
    "Of a --dry_run: how many devices; those that are there if not given.",
    1,
)
_MEMORY, _SPEED = command_line.define_device()

ERRORS = (WorkdirError, DivergedError, hosts.HostsError)


def main() -> int:
    config = _CONFIG.value
    if _DRY_RUN.value:
        return tell(config)
    if _WORKDIR.value is None:
        raise ValueError(
            "give --workdir, the folder that the run writes to, or --dry_run."
        )
    hosts.connect(
        _HOSTS.value, _COORDINATOR.value, _HOST.value, _HEARTBEAT.value
    )
    notice = Notice()
    notice.listen()
    # Here as well as in `run`: of several hosts none gets that far.
    with (
        host_watch.together(notice.take, how_to_go_on, _HEARTBEAT.value),
        command_line.errors_for_user(ERRORS),
    ):
        improve(config, notice)
    return 0


def improve(config, notice: Notice) -> None:
    """The run, to its report."""
    bars = Bars(unit=unit_of(config))
    try:
        done = carry_out(config, str(_WORKDIR.value), bars, notice)
        bars.close()
    except KeyboardInterrupt:
        bars.close(finished=False)
        print(
            "vlm_games: stopped; the same command goes on from here.",
            file=sys.stderr,
        )
        sys.exit(130)  # as shells say it of an interrupt
    finally:
        bars.close(finished=False)
    if hosts.is_first():
        print(f"{done.text} {where_to_look(str(_WORKDIR.value))}")


def how_to_go_on() -> str:
    """What is told where another host is gone."""
    kept = last_kept(str(_WORKDIR.value))
    return (
        f"{kept} Start all hosts again, these or another "
        "number of them; each goes on from there with its own command, here\n"
        f"    {shlex.join(sys.orig_argv)}"
    )


def tell(config) -> int:
    """Prints a dry run; exit status 1 if it does not fit."""
    if _DEVICES.value:  # none that is there is touched
        jax.config.update("jax_platforms", "cpu")
    device = find_device(_DEVICES.value, _MEMORY.value, _SPEED.value)
    path = config_flags.get_config_filename(flags.FLAGS["config"])
    text, fits = dry_run(config, device, pathlib.Path(path).parent)
    print(text)
    return 0 if fits else 1


if __name__ == "__main__":
    command_line.run(main, ["config"], ERRORS)
