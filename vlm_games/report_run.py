"""What a run leaves to look at: summary.json, TensorBoard, report.html."""

import json
import os
import shlex
from collections.abc import Sequence

from vlm_games.data import storage
from vlm_games.data.listing import is_remote
from vlm_games.methods.method import MAIN
from vlm_games.methods.registry import METHODS
from vlm_games.report.candidates import CandidateView
from vlm_games.report.contact_sheet import SetView
from vlm_games.report.gallery import GameView
from vlm_games.report.html import write_report
from vlm_games.report.summary import (
    format_legend,
    format_table,
    summary_rows,
    write_summary,
)
from vlm_games.report.tensorboard import write_scalars
from vlm_games.workbench import Run

SHOWN = 8  # candidates of each outcome in the report
SETS = 24  # image sets on its contact sheet


def finish(run: Run, results: dict[str, list[dict]], seconds: float) -> str:
    """Writes everything; returns the closing text for the terminal."""
    root = run.workdir.root
    write_summary(root / "summary.json", summary_rows(results[MAIN]))
    for arm, rows in results.items():
        for metrics in rows:
            folder = root / "tensorboard" / arm
            write_scalars(folder, metrics, metrics["iteration"])
    config, own = run.config.to_dict(), bool(run.config.images)
    write_report(
        root / "report.html",
        title=f"{run.config.method.replace('_', ' ')} on {_images_named(run)}",
        config_text=json.dumps(config, indent=2),
        arms=results,
        shown=gallery(run),
        skipped=run.setup.skipped,
        sets=first_sets(run),
        own_images=own,
        chance=100 / run.config.game.images,
    )
    lines = [format_table(results, own), "", format_legend(results, own), ""]
    if run.setup.skipped:
        lines.append(
            f"{len(run.setup.skipped)} files were no readable images and were "
            "skipped; the report lists them."
        )
    lines.append(f"{seconds:.0f} s.")
    return "\n".join(lines)


def where_to_look(workdir: str | os.PathLike) -> str:
    """The last words of a finished run on a terminal."""
    root = storage.path_of(workdir)
    if is_remote(root):
        look = f"Get it: gcloud storage cp {root / 'report.html'} ."
    else:
        root = root.resolve()
        look = f"Look at {(root / 'report.html').as_uri()}"
    return (
        f"{look}\n"
        f"or run: python -m vlm_games.view --workdir={shlex.quote(str(root))}"
    )


def _images_named(run: Run) -> str:
    count = len(run.bench.images)
    if not run.config.images:
        return f"{count} images of rendered target scenes"
    held = len(run.setup.held_out.games)
    return f"{count} images of {run.config.images}, measured on {held} others"


def gallery(run: Run) -> Sequence[GameView | CandidateView]:
    """Some candidates of the last iteration, of every outcome."""
    last = run.config.iterations
    if not last:
        return []
    method = METHODS[run.config.method](run.bench)
    records = run.workdir.candidates(MAIN, last, method.record)
    return method.show(records, last, SHOWN)


def first_sets(run: Run) -> list[SetView]:
    """Image sets of the first games, where games are played."""
    config, images = run.config, run.bench.images
    if config.method != "dialog_games" or not config.iterations:
        return []
    drawn = run.bench.draw_sets(1, 0, min(SETS, config.game.games))
    return [
        SetView(
            [images[i] for i in one.images],
            [images.names[i] for i in one.images],
            one.target,
        )
        for one in drawn
    ]
