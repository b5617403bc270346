"""A process of a small run of several hosts.

python tests/together.py HOSTS HOST PORT FOLDER CASE,... [FAULT]

The loop, the files, the checkpoints and the training step are the program's
own; the model is the tiny one of conftest.py, and the games are made up. Runs
the cases, one after the other, and leaves in FOLDER/<case>.<host>.json what it
did of its own. With a FAULT, such as 1:train:2:SIGKILL, host 1 sends itself the
signal when step 2 of the training is told; at 1:choose:0:SIGKILL when it
chooses, at 1:save:2:SIGKILL when the state of step 2 is half written; at
0:measure:0:PAUSE host 0 leaves a file FOLDER/paused, and waits there. Behind
it the seconds without a sign of life may stand, as in 1:play:0:SIGKILL:15.
"""

import json
import os
import runpy
import signal
import sys
import time
import types

import jax
import numpy as np
from conftest import WORDS, lively_params, tiny_config
from program import ROOT

from vlm_games import host_watch, hosts, self_improve
from vlm_games.data import storage
from vlm_games.data.examples import Example, read, said
from vlm_games.data.records import GameRecord, Turn
from vlm_games.data.tokenizer import word_tokenizer
from vlm_games.data.workdir import Workdir, last_kept
from vlm_games.methods import registry
from vlm_games.methods.method import MAIN, Selection, Stage
from vlm_games.models.mesh import make_mesh, place, play_mesh
from vlm_games.preemption import Notice
from vlm_games.workbench import Run

DEVICES, STEPS, IMAGES = 4, 3, 64
# Seconds. Where nobody is to be lost, none is given up, however busy the cores.
PATIENT = 600
# Shards of games, those of which no game is kept, and config.generated_tokens.
CASES = {"uneven": (3, (), 0), "unkept": (5, (1,), 9), "few": (1, (), 0)}


class Images:
    """Noise, with a list of who was looked at."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.pixels = rng.integers(0, 256, (IMAGES, 8, 8, 3)).astype(np.uint8)
        self.read = []

    def __getitem__(self, index):
        self.read.append(index)
        return self.pixels[index]

    def __len__(self):
        return IMAGES


class Made:
    """A method whose games depend on their number alone."""

    record, unit = GameRecord, "game"
    arms, standard, idle = (MAIN,), MAIN, ()

    def __init__(self, bench):
        self.bench = bench
        self._shards, self.unkept, _ = bench.case
        self.count = 4 * self._shards

    def shards(self):
        return self._shards

    def warm_up(self, arm, iteration):
        return ()

    def prepare(self, params, iteration):
        return None

    def candidates(self, params, prepared, iteration, shard, made):
        self.bench.made.append(shard)
        kept = shard not in self.unkept
        return [game(4 * shard + k, kept) for k in range(4)]

    def tokens_said(self, record):
        return 1

    def select(self, records, arm, iteration, budget):
        self.bench.progress("choose", 0, 1)
        kept = [record for record in records if record.kept]
        chosen = [
            Example(
                (record.images[0],),
                (read("<image> question :"), said(record.turns[0].answer)),
            )
            for record in kept
        ]
        stage = Stage("sft", lambda params: {"made": chosen}, replay=False)
        return Selection((stage,), len(kept), {"games": len(kept)}, {})


def game(number: int, kept: bool) -> GameRecord:
    rng = np.random.default_rng(number)
    turn = Turn(
        "is there red ?",
        WORDS.split()[number % 6],
        "",
        -1,
        -1,
        None,
        None,
        None,
    )
    images = tuple(rng.permutation(IMAGES)[:2].tolist())
    return GameRecord(
        game=number,
        iteration=1,
        seed=0,
        images=images,
        names=tuple(f"image {i}" for i in images),
        target=0,
        turns=(turn,),
        final_summary="",
        guess=0,
        belief=(0.5, 0.5),
        outcome="success",
        reason=None,
        filters={},
        kept=kept,
    )


def improve(
    workdir, case: str, progress=lambda *told: None, notice=None
) -> dict:
    """Runs or resumes a case on DEVICES: metrics, and what this host did."""
    registry.METHODS["made"] = Made
    self_improve.measure = lambda params, **_: {
        "params": [float(np.abs(x).sum()) for x in jax.tree.leaves(params)]
    }
    c = runpy.run_path(str(ROOT / "configs/scenes.py"))["get_config"]()
    c.method, c.iterations, c.controls = "made", 1, ()
    c.generated_tokens = CASES[case][2]
    c.train.update({"steps": STEPS, "save_every": 1, "augment": 0.0})
    c.train.rows, c.train.lengths = {"made": 2}, {"made": 12}
    model, tokenizer = tiny_config(), word_tokenizer(WORDS.split())
    mesh = make_mesh(jax.devices()[:DEVICES], fsdp=2)
    playing = play_mesh(mesh)
    bench = types.SimpleNamespace(
        config=c,
        model=model,
        mesh=mesh,
        tokenizer=tokenizer,
        images=Images(),
        engine=types.SimpleNamespace(mesh=playing),
        case=CASES[case],
        made=[],
        progress=progress,
        scorer=None,
        prompts=None,
        instructions=None,
        table=None,
    )
    setup = types.SimpleNamespace(
        bench=bench,
        base_params=place(playing, lively_params(model)),
        held_out=types.SimpleNamespace(
            choices=(), description_tokens=0, outcomes={}, guard_games=0
        ),
        skipped=(),
        digests={},
    )
    run = Run(c, setup, Workdir(workdir), progress, notice or Notice())
    run.workdir.claim({"case": case})
    try:
        (rows,) = self_improve.self_improve(run).values()
    finally:
        run.workdir.release()
    for metrics in rows:
        del metrics["seconds"], metrics["phase_seconds"]
    own = {"made": bench.made, "read": len(bench.images.read)}
    return {"metrics": rows, "own": own}


class Saving:
    """JAX's store, at whose barriers Orbax waits for the other hosts."""

    def __init__(self, store, progress, folder):
        self._store, self._progress, self._folder = store, progress, folder

    def __getattr__(self, name):
        return getattr(self._store, name)

    def wait_at_barrier(self, *given, **more):
        # Looked for from above: what is in them goes while one looks.
        for half in self._folder.glob("*/arms/*/*/training/*/step_*.*tmp*"):
            self._progress("save", half.name.partition(".")[0][-1], STEPS)
        return self._store.wait_at_barrier(*given, **more)


def main(count, host, port, folder, cases, fault=""):
    jax.config.update("jax_disable_most_optimizations", True)
    jax.config.update("jax_num_cpu_devices", DEVICES // int(count))
    *place, sign, heartbeat = [*fault.split(":"), str(hosts.HEARTBEAT)][:5]
    heartbeat = int(heartbeat) if fault else PATIENT
    hosts.connect(count, f"127.0.0.1:{port}", int(host), heartbeat)
    notice = Notice()
    notice.listen()

    def progress(what, done, of):
        if place != [host, what.split()[-1], str(done)]:
            return
        if sign == "PAUSE":
            (folder / "paused").touch()
            time.sleep(PATIENT)
        os.kill(os.getpid(), signal.Signals[sign])

    folder = storage.path_of(folder)

    def kept():
        return "\n".join(last_kept(folder / case) for case in cases.split(","))

    if "save" in place:
        jax.devices()  # for which the store itself is needed
        state = hosts.distributed.global_state
        state.client = Saving(state.client, progress, folder)
    with host_watch.together(notice.take, kept, heartbeat):
        for case in cases.split(","):
            found = improve(folder / case, case, progress, notice)
            text = json.dumps(found)
            (folder / f"{case}.{host}.json").write_text(text)
        hosts.meet("the end")


if __name__ == "__main__":
    main(*sys.argv[1:])
