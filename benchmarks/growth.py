"""What a run's host pays for more games, and for more devices.

    python benchmarks/growth.py --json=docs/results/growth.json

plays, reads back and chooses the games of a first iteration by the program's
own loop, on the shipped base and rendered scenes, each number of games and of
virtual CPU devices in a process of its own. It tells seconds of the processor
and the most memory that the process had held after each phase:

    started  the model, the images and one shard, which compiles all there is
    play     all shards are on disk; none of their games is held
    read     all games are in memory, to be chosen from
    choose   and the examples made of them
"""

import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import jax
from absl import flags

from vlm_games import command_line
from vlm_games.data.workdir import Workdir
from vlm_games.methods.method import MAIN
from vlm_games.methods.registry import METHODS
from vlm_games.self_improve import Learner, play, select
from vlm_games.trainer import Trainer
from vlm_games.whole_run import silent
from vlm_games.workbench import Run, build

_GAMES = flags.DEFINE_list("games", ["1000", "10000", "100000"], "On 1 device.")
_DEVICES = flags.DEFINE_list("devices", ["1", "2", "4", "8"], "How many.")
_EACH = flags.DEFINE_integer("each", 2000, "Games on each of --devices.", 1)
_JSON = flags.DEFINE_string("json", None, "File for the figures.")
_ONE = flags.DEFINE_list(
    "one", None, "<games>,<devices>,<workdir>: in this process, and printed."
)

PHASES = ("started", "play", "read", "choose")
SHARD = 500
SETTINGS = (
    "iterations=1",
    "controls=()",
    "play_images=500",
    "play.slots=256",
    "play.turns=1",
    "game.images=2",
    f"game.shard={SHARD}",
    "game.filter=success",
    "game.judges=0",
    "eval.target_images=24",
    "eval.source_images=24",
)


def spent() -> dict[str, float]:
    """Of this process so far: seconds of the processor, and MiB at most."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes or KiB
    return {
        "seconds": round(used.ru_utime + used.ru_stime, 1),
        "mib": round(used.ru_maxrss * unit / 2**20),
    }


class Watched(Workdir):
    """A workdir that notes what was spent until a shard was written."""

    def __init__(self, root: str):
        super().__init__(root)
        self.spent: list[dict[str, float]] = []

    def write_shard(self, *given) -> None:
        super().write_shard(*given)
        self.spent.append(spent())


def measure(games: int, devices: int, root: str) -> dict:
    """The phases of an iteration of so many games, in this process."""
    jax.config.update("jax_num_cpu_devices", devices)
    settings = (*SETTINGS, f"game.games={games}")
    config = command_line.load_config(
        "scenes", [f"config.{setting}" for setting in settings]
    )
    started, setup, workdir = time.monotonic(), build(config), Watched(root)
    run = Run(config, setup, workdir, silent)
    method, base = METHODS[config.method](run.bench), setup.base_params
    records = play(run, Learner(method, Trainer(run), base), MAIN, 1, base)
    read = spent()
    select(run, method, MAIN, 1, records)
    return {
        "games": len(records),
        "devices": devices,
        "wall_seconds": round(time.monotonic() - started, 1),
        "load": round(os.getloadavg()[0], 1),
        "started": workdir.spent[0],
        "play": workdir.spent[-1],
        "read": read,
        "choose": spent(),
    }


def in_its_own_process(games: int, devices: int) -> dict:
    """What `measure` gives in a process that does nothing else."""
    with tempfile.TemporaryDirectory(prefix="growth_") as root:
        done = subprocess.run(
            [sys.executable, __file__, f"--one={games},{devices},{root}"],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    return json.loads(done.stdout.splitlines()[-1])


def row(found: dict) -> str:
    """A line of the table of docs/scaling.md."""
    more = found["games"] - SHARD
    spent_on = found["play"]["seconds"] - found["started"]["seconds"]
    each = f"{1000 * spent_on / more:.2f}" if more > 0 else "-"
    read, chosen = (
        1e3 * (found[b]["seconds"] - found[a]["seconds"]) / found["games"]
        for a, b in (("play", "read"), ("read", "choose"))
    )
    cells = (
        f"{found['games']:,}",
        found["devices"],
        each,
        f"{read:.2f}",
        f"{chosen:.2f}",
        *(found[phase]["mib"] for phase in PHASES),
    )
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> None:
    if _ONE.value:
        games, devices, root = _ONE.value
        print(json.dumps(measure(int(games), int(devices), root)))
        return
    cases = [(int(games), 1) for games in _GAMES.value]
    cases += [(_EACH.value, int(devices)) for devices in _DEVICES.value]
    rows = []
    for games, devices in cases:
        rows.append(in_its_own_process(games, devices))
        print(row(rows[-1]), flush=True)
    if _JSON.value:
        command = " ".join(["python", *sys.argv])
        text = json.dumps({"command": command, "rows": rows}, indent=1)
        pathlib.Path(_JSON.value).write_text(text + "\n")


if __name__ == "__main__":
    command_line.run(main)
