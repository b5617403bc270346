"""Which device holds what, and that a split model is the same model."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P

from vlm_games.data.augment import AugmentConfig
from vlm_games.data.packing import Batch
from vlm_games.models import mesh as meshes
from vlm_games.models import vlm
from vlm_games.sampling.engine import Engine, Sampling, pad
from vlm_games.training.losses import cross_entropy
from vlm_games.training.step import init_state, make_train_step

pytestmark = pytest.mark.usefixtures("quick_compiles")

KERNEL = "decoder.block_0.mlp.up.kernel"


def test_a_mesh_holds_the_devices_asked_for():
    whole = {"data": 8, "fsdp": 1, "tensor": 1}
    assert meshes.make_mesh().shape == whole
    several = meshes.make_mesh(fsdp=2, tensor=2)
    assert several.shape == {"data": 2, "fsdp": 2, "tensor": 2}
    one = meshes.make_mesh(jax.devices()[:1])
    assert one.shape == {"data": 1, "fsdp": 1, "tensor": 1}
    assert meshes.place(one, jnp.ones(3)).devices() == {jax.devices()[0]}


@pytest.mark.parametrize("tensor", [0, 3])
def test_devices_that_do_not_come_out_even_are_an_error(tensor):
    with pytest.raises(ValueError, match=f"config.mesh.tensor={tensor}: 8"):
        meshes.make_mesh(tensor=tensor)
    with pytest.raises(ValueError, match=f"config.mesh.fsdp={tensor}, "):
        meshes.make_mesh(fsdp=tensor)


def test_models_play_on_a_mesh_without_fsdp():
    mesh = meshes.make_mesh(fsdp=2, tensor=2)
    for together, size in {0: 2, 1: 1, 8: 8}.items():
        found = meshes.play_mesh(mesh, together)
        assert found.shape == {"data": 8 // size, "fsdp": 1, "tensor": size}
        assert list(found.devices.flat) == list(mesh.devices.flat)
    with pytest.raises(ValueError, match="config.mesh.play=3 .*the 8 devices"):
        meshes.play_mesh(mesh, 3)


def test_a_param_that_does_not_split_is_named():
    def spec(shape, **sizes):
        return meshes.param_spec(KERNEL, shape, sizes)

    assert spec((32, 48), tensor=4) == P(None, "tensor")
    assert spec((32, 48), tensor=4, fsdp=2) == P("fsdp", "tensor")
    assert spec((32, 48), tensor=1) == spec((32, 48)) == P()
    with pytest.raises(ValueError, match=f"{KERNEL} of shape .32, 50. .*of 50"):
        spec((32, 50), tensor=4)
    with pytest.raises(ValueError, match="config.mesh.fsdp.* divisor of 32"):
        spec((32, 48), fsdp=3)


def test_every_large_param_is_split_and_so_is_its_optimizer_state(params):
    mesh = meshes.make_mesh(fsdp=2, tensor=2)
    optimizer = optax.adamw(1e-3)
    state = init_state(params, optimizer, mesh)
    for tree in (state.params, state.opt_state[0].mu, state.opt_state[0].nu):
        for path, x in jax.tree_util.tree_leaves_with_path(tree):
            if x.ndim > 1 and path[-1].key != "position":
                shard = x.addressable_shards[0].data
                whole = path[-2].key == "patches"
                assert shard.size == x.size // (2 if whole else 4), path


def one_batch(length: int, shards: int):
    """(a batch of text with one row a shard, pixels of its unused images)."""
    ints = np.zeros((shards, length), np.int32)
    batch = Batch(
        tokens=ints + 7,
        image_slots=ints - 1,
        positions=ints + np.arange(length, dtype=np.int32),
        segments=ints + 1,
        branches=ints,
        weights=np.ones((shards, length), np.float32),
        reference=np.zeros((shards, length), np.float32),
        images=np.zeros(shards, np.int32),
    )
    return batch, np.zeros((shards, 8, 8, 3), np.uint8)


def test_a_step_keeps_the_layout_and_compiles_once(config, params):
    mesh = meshes.make_mesh(fsdp=2, tensor=2)
    optimizer = optax.adamw(1e-3)
    step = make_train_step(config, optimizer, mesh, AugmentConfig(strength=0.0))
    state = init_state(params, optimizer, mesh)
    layout = jax.tree.map(lambda x: x.sharding, state)
    batch, pixels = one_batch(length=16, shards=4)
    for _ in range(2):
        state, _ = step(state, None, (batch,), (pixels,), jax.random.key(0))
    same = jax.tree.map(
        lambda x, y: x.sharding.is_equivalent_to(y, x.ndim), state, layout
    )
    assert all(jax.tree.leaves(same))
    assert step._cache_size() == 1


def test_a_device_holds_its_own_heads_of_the_cache(config, params):
    mesh = meshes.make_mesh(tensor=2)
    engine, params = Engine(config, mesh), meshes.place(mesh, params)
    forbidden = np.zeros(config.vocab_size, bool)
    session = engine.init(8, 24)
    for _ in range(2):
        session, _ = engine.turn(
            params,
            session,
            np.full(8, 100),
            pad([[5, 6]] * 8),
            range(8),
            [0] * 8,
            [True] * 8,
            0.0,
            forbidden,
            Sampling(forbidden, (0,)),
            4,
        )
        keys = session.cache.layers[0][0]
        shard = keys.addressable_shards[0].data
        heads = config.decoder.kv_heads
        assert keys.shape[1] == heads and shard.shape[1] == heads // 2
        assert shard.shape[0] == 2
    assert engine.compilations() == 2


def test_logits_are_those_of_a_whole_model(config, params):
    tokens = jnp.arange(12)[None] % 20
    slots = jnp.full_like(tokens, -1)
    positions = jnp.arange(12)[None]
    mask = jnp.tril(jnp.ones((1, 12, 12), bool))

    @jax.jit
    def logits(params):
        images = jnp.zeros((1, config.decoder.width))
        hidden = vlm.forward(
            config, params, tokens, slots, images, positions, mask
        )
        return vlm.unembed(config, params, hidden)

    split = meshes.place(meshes.make_mesh(tensor=2), params)
    np.testing.assert_allclose(
        logits(split), logits(params), rtol=1e-5, atol=1e-5
    )


def test_nowhere_in_a_loss_do_whole_logits_stand(variant):
    """What `planning.memory` counts on: they are split by the vocabulary."""
    config, params = variant(kv_heads=2)
    config = dataclasses.replace(config, vocab_size=4096)
    params["embed"] = {"embedding": jnp.ones((4096, config.decoder.width))}
    mesh = meshes.make_mesh(tensor=2)
    rows, images = one_batch(length=24, shards=4)

    def gradients(params, batch, pixels):
        def loss(params):
            return cross_entropy(config, params, batch, pixels)[0]

        return jax.lax.psum(jax.grad(loss)(params), "data")

    specs = (P(), P("data"), P("data"))
    sharded = jax.jit(meshes.shard_batch(gradients, mesh, specs, P()))
    placed = meshes.place(mesh, params)
    program = sharded.lower(placed, rows, images).compile().as_text()
    assert "f32[1,23,2048]" in program
    assert "f32[1,23,4096]" not in program
