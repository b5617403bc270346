"""What a run's host pays for more games, and for more devices.

    python benchmarks/growth.py --json=docs/results/growth.json

plays, reads back and chooses the games of a first iteration by the program's
own loop, on the shipped base and rendered scenes, each case in a process of its
own. It tells seconds of the processor, and the most memory that the process had
held after each phase:

    started  images are encoded and one shard is played: all is compiled
    played   all shards are on disk; none of their games is held
    read     all are read back and checked, to be chosen from
    chosen   and every example of what is chosen was made once, for training

"made" games take the model's place, so that very many show what the host does
besides: drawing sets, judging, writing, reading and choosing.
"""

import collections
import dataclasses
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np
from absl import flags

from vlm_games import command_line
from vlm_games.data.workdir import Workdir
from vlm_games.games.protocol import Exchange, GameSettings, PlayedGame
from vlm_games.methods.method import MAIN
from vlm_games.methods.registry import METHODS
from vlm_games.sampling.scoring import Score
from vlm_games.self_improve import Learner, candidate_figures, play, select
from vlm_games.trainer import Trainer
from vlm_games.whole_run import silent
from vlm_games.workbench import Run, build
from vlm_games.worlds.questions import QUESTIONS

_CASES = flags.DEFINE_list(
    "cases",
    [
        *("made:1000:1", "made:10000:1", "made:100000:1"),
        *("model:1000:1", "model:4000:1"),
        *("model:1000:2", "model:1000:4", "model:1000:8"),
    ],
    "Of each, who plays, how many games, and on how many virtual devices.",
)
_JSON = flags.DEFINE_string("json", None, "File for the figures.")
_DRY_RUN = command_line.define_dry_run()
_ONE = flags.DEFINE_string(
    "one", None, "A case that is measured in this process, and printed."
)

PHASES = ("started", "played", "read", "chosen")
SHARD = 250
SETTINGS = (
    "iterations=1",
    "controls=()",
    "play_images=500",
    "play.slots=128",
    "play.turns=2",
    f"game.shard={SHARD}",
    "game.filter=success",
    "game.judges=0",
    "eval.target_images=24",
    "eval.source_images=24",
)


class MadeTable:
    """Games as long as the model's; every second one finds its target."""

    def __init__(self, settings: GameSettings):
        self.settings = settings

    def play(self, guesser, describer, specs, seed):
        for spec in specs:
            rng = np.random.default_rng((*seed, spec.game))
            turns = tuple(
                Exchange(
                    QUESTIONS[rng.integers(len(QUESTIONS))].text,
                    "yes",
                    " ".join(f"{i} {rng.integers(1000)}" for i in range(4)),
                    *rng.standard_normal(2).tolist(),
                )
                for _ in range(self.settings.turns)
            )
            guess = (spec.target + spec.game) % 2
            yield PlayedGame(spec, turns, "1 yes 2 no", guess, None)


class MadeScorer:
    """Answers fit images by chance."""

    def score(self, params, image_tokens, examples):
        rng = np.random.default_rng(len(examples))
        return [
            tuple(Score(-rng.random(), True) for _ in example.branches)
            for example in examples
        ]


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


def open_run(who: str, games: int, root: str) -> Run:
    """A run of one iteration, whose games the model or nobody plays."""
    settings = (*SETTINGS, f"game.games={games}")
    config = command_line.load_config(
        "scenes", [f"config.{setting}" for setting in settings]
    )
    setup = build(config)
    if who == "made":
        bench = dataclasses.replace(
            setup.bench,
            table=MadeTable(setup.bench.table.settings),
            scorer=MadeScorer(),
        )
        setup = dataclasses.replace(setup, bench=bench)
    return Run(config, setup, Watched(root), silent)


def measure(who: str, games: int, devices: int) -> dict:
    """The phases of an iteration of so many games, in this process."""
    jax.config.update("jax_num_cpu_devices", devices)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="growth_") as root:
        run = open_run(who, games, root)
        method = METHODS[run.config.method](run.bench)
        base = run.setup.base_params
        shared = Learner(method, Trainer(run), base)
        records = play(run, shared, MAIN, 1, base)
        read = spent()
        chosen = select(run, method, MAIN, 1, records)
        candidate_figures(method, records, chosen)
        for stage in chosen.stages:
            for examples in stage.examples(base).values():
                collections.deque(examples, maxlen=0)  # looks at each
    return {
        "who": who,
        "games": len(records),
        "devices": devices,
        "wall_seconds": round(time.monotonic() - started, 1),
        "load": round(os.getloadavg()[0], 1),
        "started": run.workdir.spent[0],
        "played": run.workdir.spent[-1],
        "read": read,
        "chosen": spent(),
    }


def in_its_own_process(case: str) -> dict:
    """What `measure` gives in a process that does nothing else."""
    done = subprocess.run(
        [sys.executable, __file__, f"--one={case}"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def row(found: dict) -> str:
    """A line of the table of docs/scaling.md."""
    seconds = [found[phase]["seconds"] for phase in PHASES]
    shares = (found["games"] - SHARD, found["games"], found["games"])
    each = [
        f"{1000 * (later - sooner) / games:.2f}"
        for sooner, later, games in zip(
            seconds[:-1], seconds[1:], shares, strict=True
        )
    ]
    memory = [found[phase]["mib"] for phase in PHASES]
    games = f"{found['games']:,}"
    cells = (found["who"], games, found["devices"], *each, *memory)
    return "| " + " | ".join(map(str, cells)) + " |"


def tell(cases: list[str]) -> str:
    """What would be done."""
    games = sum(int(case.split(":")[1]) for case in cases)
    return (
        f"{len(cases)} cases of {games:,} games in all, one process after the "
        "other, each with about 1 GiB; an hour for the usual ones."
    )


def main() -> None:
    if _DRY_RUN.value:
        print(tell(_CASES.value))
        return
    if _ONE.value:
        who, games, devices = _ONE.value.split(":")
        print(json.dumps(measure(who, int(games), int(devices))))
        return
    rows, command = [], " ".join(["python", *sys.argv])
    for case in _CASES.value:
        rows.append(in_its_own_process(case))
        print(row(rows[-1]), flush=True)
        if _JSON.value:  # after each, since all of them take an hour
            text = json.dumps({"command": command, "rows": rows}, indent=1)
            pathlib.Path(_JSON.value).write_text(text + "\n")


if __name__ == "__main__":
    command_line.run(main)
