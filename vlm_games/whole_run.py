"""A whole run from a config: what the program starts, and a notebook.

Examples:
    done = carry_out(load_config("scenes"), "/tmp/scenes")
    print(done.text)
"""

import dataclasses
import os
import time
from collections.abc import Sequence

from absl import logging
from ml_collections import ConfigDict

from vlm_games import hosts
from vlm_games.data import storage
from vlm_games.data.workdir import Workdir
from vlm_games.methods.method import MAIN
from vlm_games.preemption import Notice
from vlm_games.report_run import finish
from vlm_games.self_improve import self_improve
from vlm_games.training import checkpoint
from vlm_games.workbench import Progress, Run, build, find_iteration


@dataclasses.dataclass(frozen=True)
class Finished:
    """A run that came to its end.

    Attributes:
      run: what it worked with. arms: metrics by arm and iteration.
      text: the closing table; of the first host.
    """

    run: Run
    arms: dict[str, list[dict]]
    text: str

    def params(self, arm: str = MAIN, iteration: int | None = None):
        """Params after an iteration, the last if None; 0 is the base.

        Raises:
          FileNotFoundError: the run has none such; says which it has.
        """
        base = self.run.setup.base_params
        if iteration == 0:
            return base
        found = find_iteration(self.run.workdir.root, arm, iteration)
        return checkpoint.load(found / "checkpoint", base)


def silent(what: str, done: int, of: int) -> None:
    """Progress that nobody asked for."""


def warn_of_skipped(skipped: Sequence[str]) -> None:
    """Says once, on the first host, that files give no image."""
    if skipped and hosts.is_first():
        logging.warning(
            "files passed over: %d, the first being %s; the report lists them.",
            len(skipped),
            skipped[0],
        )


def carry_out(
    config: ConfigDict,
    workdir: str | os.PathLike,
    progress: Progress = silent,
    notice: Notice | None = None,
) -> Finished:
    """Plays, filters, trains, measures and reports; goes on if it was stopped.

    Args:
      config: ConfigDict, such as `command_line.load_config` gives.
      workdir: folder of the run, here or gs://bucket/folder; a new one, or one
        to go on with.
      progress: told how far the work is, such as `progress.Bars()`.
      notice: whether the machine is wanted back; nobody asks if None.

    Raises:
      ValueError, OSError: saying which field is at fault, or what a bucket
        refuses.
      WorkdirError: the folder is in use, or another config's.
      DivergedError: training came to figures that are none.
    """
    started = time.time()
    place = Workdir(workdir)
    storage.check_bucket(place.root)
    setup = build(config)
    with storage.client_errors(place.root):
        try:
            place.claim(config.to_dict() | {"digests": setup.digests})
            if place.metrics(MAIN, 0) is None:  # a new run
                warn_of_skipped(setup.skipped)
            run = Run(config, setup, place, progress, notice or Notice())
            arms = self_improve(run)
            # Of several hosts the first tells, and the others wait for it.
            text = ""
            if hosts.is_first():
                text = finish(run, arms, time.time() - started)
            hosts.meet("the end")
        finally:
            place.release()
    return Finished(run, arms, text)
