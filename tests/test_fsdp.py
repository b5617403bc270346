"""A step over any mesh is the same step; who holds what while it runs."""

import dataclasses
import re

import jax
import numpy as np
import pytest

from vlm_games.data.augment import AugmentConfig
from vlm_games.data.examples import Example, Piece
from vlm_games.data.packing import BatchShape, encode, pack
from vlm_games.models import mesh as meshes
from vlm_games.sampling.engine import Engine, pad
from vlm_games.sampling.session import Truncation
from vlm_games.training import lora
from vlm_games.training.step import (
    OptimizerConfig,
    init_state,
    make_optimizer,
    make_train_step,
)
from vlm_games.training.trainable import Trainable

pytestmark = pytest.mark.usefixtures("quick_compiles")

KEY = jax.random.key(0)
ROWS, LENGTH, STEPS = 8, 16, 3
OPTIMIZER = make_optimizer(
    OptimizerConfig(1e-2, steps=10, warmup=1, weight_decay=0.1)
)


@pytest.fixture(scope="module")
def batch_for(tokenizer, pixels):
    """Makes two micro-batches of the same rows, for any number of shards."""
    examples = [
        Example(
            (k % 6,),
            (Piece(f"<image> is there {'red' if k % 2 else 'circle'} ?"),),
            ((Piece("answer :"), Piece("yes" if k % 3 else "no", 1.0 + k)),),
        )
        for k in range(ROWS)
    ]
    encoded = [encode(e, tokenizer, 4) for e in examples]

    def make(shards: int):
        rows = ROWS // shards
        shape = BatchShape(rows, LENGTH, rows)
        parts = [
            pack(encoded[i : i + rows], shape, 4)[0]
            for i in range(0, ROWS, rows)
        ]
        batch = jax.tree.map(lambda *x: np.concatenate(x), *parts)
        return (batch, batch), (pixels[batch.images],) * 2

    return make


def losses(config, params, batch_for, mesh, trainable=None) -> list[float]:
    """Losses and gradient norms of some steps on a mesh."""
    trainable = trainable or Trainable()
    trained, frozen = trainable.begin(params, KEY)
    state = init_state(trained, OPTIMIZER, mesh)
    frozen = meshes.place(mesh, frozen)
    step = make_train_step(
        config, OPTIMIZER, mesh, AugmentConfig(), trainable.assemble
    )
    batches, pixels = batch_for(meshes.shards_of(mesh))
    found = []
    for _ in range(STEPS):
        state, metrics = step(state, frozen, batches, pixels, KEY)
        found += [float(metrics["loss"]), float(metrics["grad_norm"])]
    assert step._cache_size() == 1
    return found


@pytest.fixture(scope="module")
def on_one(config, params, batch_for):
    one = meshes.make_mesh(jax.devices()[:1])
    found = losses(config, params, batch_for, one)
    assert found[-2] < 0.9 * found[0], "nothing was learned"
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    "fsdp, tensor, remat", [(1, 1, False), (4, 1, True), (2, 2, False)]
)
def test_losses_are_the_same_on_any_mesh(
    config, params, batch_for, on_one, fsdp, tensor, remat
):
    mesh = meshes.make_mesh(fsdp=fsdp, tensor=tensor)
    config = dataclasses.replace(config, remat=remat)
    found = losses(config, params, batch_for, mesh)
    np.testing.assert_allclose(found, on_one, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_what_is_frozen_lies_in_pieces_too(config, params, batch_for):
    adapters = Trainable(lora.LoraConfig(rank=2))
    found = [
        losses(config, params, batch_for, mesh, adapters)
        for mesh in (
            meshes.make_mesh(jax.devices()[:1]),
            meshes.make_mesh(fsdp=4),
        )
    ]
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5, atol=1e-5)


COLLECTIVE = re.compile(
    r"\b(all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)"
)


def turn_program(config, params, mesh) -> str:
    """What a turn of a session is compiled to."""
    engine = Engine(config, mesh)
    forbidden = np.zeros((1, config.vocab_size), bool)
    zeros = np.zeros(ROWS, np.int32)
    turn = engine._make_turn(4, Truncation()).lower(
        meshes.place(mesh, params),
        engine.init(ROWS, 24),
        zeros,
        *pad([[5, 6]] * ROWS),
        zeros,
        zeros,
        zeros == 0,
        np.float32(0),
        forbidden[0],
        forbidden,
        zeros,
        np.zeros(1, np.uint32),
    )
    return turn.compile().as_text()


def test_devices_that_play_whole_models_exchange_nothing(config, params):
    mesh = meshes.play_mesh(meshes.make_mesh(fsdp=4), 1)
    assert COLLECTIVE.findall(turn_program(config, params, mesh)) == []


def test_devices_that_play_one_model_do(config, params):
    mesh = meshes.play_mesh(meshes.make_mesh(fsdp=4), 2)
    assert COLLECTIVE.findall(turn_program(config, params, mesh))
