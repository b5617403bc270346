"""The loop of a run, in which games and updates are made up.

Files, locks, stages, batches and checkpoints are the program's own, so that
their faults can be tried by the hundred. What the few params become hangs on
every batch, on the optimizer's state and on the step, and the games hang on
them, so that nothing lost goes unnoticed.
"""

import dataclasses
import hashlib
import runpy
import types

import jax
import numpy as np
from conftest import WORDS, tiny_config
from program import ROOT

from vlm_games import self_improve
from vlm_games.data.examples import Example, read, said
from vlm_games.data.records import GameRecord, Turn
from vlm_games.data.tokenizer import word_tokenizer
from vlm_games.data.workdir import Workdir
from vlm_games.methods import registry
from vlm_games.methods.method import MAIN, Selection, Stage
from vlm_games.models.mesh import make_mesh, place, play_mesh
from vlm_games.preemption import Notice
from vlm_games.training import step
from vlm_games.workbench import Run

ITERATIONS, SHARDS, STEPS = 2, 2, 4


class Toy:
    """A method whose candidates are drawn, and depend on the params."""

    record, unit = GameRecord, "game"
    arms, standard, idle = (MAIN, "control"), "control", ()

    def __init__(self, bench):
        self.played = bench.played

    @property
    def count(self):
        return 6 * SHARDS

    def shards(self):
        return SHARDS

    def warm_up(self, arm, iteration):
        return ()

    def prepare(self, params, iteration):
        return int(digest(params)[:8], 16)

    def candidates(self, params, prepared, iteration, shard, made):
        self.played.append((iteration, shard))
        rng = np.random.default_rng([prepared, iteration, shard])
        found = [game(iteration, 6 * shard + k, rng) for k in range(6)]
        made(3)
        made(6)
        return found

    def tokens_said(self, record):
        return 1

    def select(self, records, arm, iteration, budget):
        chosen = [
            Example(
                (record.images[record.target],),
                (read("<image> question :"), said(record.turns[0].answer)),
            )
            for record in records
            if (record.outcome == "success") == (arm == MAIN)
        ]
        stage = Stage("sft", lambda params: {"toy": chosen}, replay=False)
        return Selection((stage,), len(chosen), {"games": len(chosen)}, {})

    def show(self, records, iteration, most):
        return []


def game(iteration: int, number: int, rng) -> GameRecord:
    """A made-up game of one turn."""
    guess, target = rng.integers(0, 2, 2).tolist()
    answer = WORDS.split()[rng.integers(0, 6)]
    turn = Turn("is there red ?", answer, "", -1.0, -1.0, None, None, None)
    images = tuple(rng.permutation(6)[:2].tolist())
    return GameRecord(
        game=number,
        iteration=iteration,
        seed=0,
        images=images,
        names=tuple(f"image {i}" for i in images),
        target=target,
        turns=(turn,),
        final_summary="",
        guess=guess,
        belief=(0.5, 0.5),
        outcome="success" if guess == target else "lose",
        reason=None,
        filters={},
        kept=guess == target,
    )


def make_toy_step(*arguments, **options):
    """In place of training.step.make_train_step; nothing is compiled."""

    def step(state, frozen, batches, pixels, key, augmented):
        batches, pixels = jax.device_get((batches, pixels))
        seen = sum(np.arange(b.tokens.size) @ b.tokens.ravel() for b in batches)
        seen += sum(int(p.sum()) for p in pixels) + int(state.step)
        seen += sum(np.sum(x) for x in jax.tree.leaves(state.opt_state))
        told = np.float32(seen % 1009) / np.float32(1009)

        def move(by, x):
            moved = (np.asarray(x) * by + told).astype(x.dtype)
            return jax.device_put(moved, x.sharding)

        state = dataclasses.replace(
            state,
            params=jax.tree.map(
                lambda x: move(np.float32(0.9), x), state.params
            ),
            opt_state=jax.tree.map(lambda x: move(1, x), state.opt_state),
            step=jax.device_put(
                np.asarray(state.step) + 1, state.step.sharding
            ),
        )
        return state, {"loss": told}

    return step


def digest(params) -> str:
    """Of every bit of the params."""
    leaves = jax.tree.leaves(jax.device_get(params))
    return hashlib.sha256(b"".join(x.tobytes() for x in leaves)).hexdigest()


class Bench:
    """What toy runs share."""

    def __init__(self, monkeypatch, devices: int = 1):
        monkeypatch.setitem(registry.METHODS, "toy", Toy)
        monkeypatch.setattr(step, "make_train_step", make_toy_step)
        monkeypatch.setattr(
            self_improve, "measure", lambda **k: {"params": digest(k["params"])}
        )
        c = runpy.run_path(str(ROOT / "configs/scenes.py"))["get_config"]()
        c.method, c.iterations = "toy", ITERATIONS
        c.train.update(
            {"steps": STEPS, "save_every": 2, "warmup": 1, "augment": 0.0}
        )
        c.train.rows, c.train.lengths = {"toy": 2}, {"toy": 12}
        model, mesh = tiny_config(), make_mesh(jax.devices()[:devices])
        self.config = c
        rng = np.random.default_rng(0)
        scales = {
            name: {"scale": rng.standard_normal(32, np.float32)}
            for name in ("attention_norm", "mlp_norm")
        }
        self.base = place(mesh, {"decoder": scales})
        pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3))
        self.bench = types.SimpleNamespace(
            config=c,
            model=model,
            mesh=mesh,
            tokenizer=word_tokenizer(WORDS.split()),
            images=pixels.astype(np.uint8),
            engine=types.SimpleNamespace(mesh=play_mesh(mesh)),
            played=[],
            scorer=None,
            prompts=None,
            instructions=None,
            table=None,
        )

    def run(self, workdir, progress=None, notice=None) -> Run:
        """A run in `workdir`; `progress` is told of every step."""
        setup = types.SimpleNamespace(
            bench=self.bench,
            base_params=self.base,
            held_out=types.SimpleNamespace(
                choices=(), description_tokens=0, outcomes={}, guard_games=0
            ),
            skipped=(),
            digests={},
        )
        return Run(
            self.config,
            setup,
            Workdir(workdir),
            progress or (lambda *told: None),
            notice or Notice(),
        )

    def improve(self, workdir, progress=None, notice=None) -> dict:
        """Runs or resumes; the metrics of all arms, less the seconds."""
        self.bench.played.clear()
        run = self.run(workdir, progress, notice)
        results = self_improve.self_improve(run)
        return {
            arm: [without_seconds(metrics) for metrics in rows]
            for arm, rows in results.items()
        }


def without_seconds(metrics: dict) -> dict:
    """What does not hang on the clock."""
    return {k: v for k, v in metrics.items() if "seconds" not in k}


class Stopped(BaseException):
    """In place of the end of the process."""


def stop_at(what: str, count: int):
    """A progress that ends the run when `what` is told for the nth time.

    The first one is before the first step.
    """
    told = []

    def progress(found, done, of):
        told.append(found)
        if told.count(what) == count:
            raise Stopped

    return progress
