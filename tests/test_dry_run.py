"""Memory told without weights: what is counted, and what is estimated."""

import dataclasses
import math
import os
import pathlib
import runpy
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlm_games.games import questionnaire
from vlm_games.games.play import Table
from vlm_games.games.prompts import Prompts
from vlm_games.games.protocol import GameSettings
from vlm_games.models import vlm
from vlm_games.models.cache import init_cache
from vlm_games.models.mesh import make_mesh, place
from vlm_games.planning import budget, memory
from vlm_games.planning.dry_run import dry_run, duration, report
from vlm_games.planning.plan import Device, find_device, make_plan
from vlm_games.sampling.engine import Engine
from vlm_games.sampling.session import init_session
from vlm_games.training import lora, step

ROOT = pathlib.Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
DEVICES = {"gpu-80gb": (1, 80), "v5e-8": (8, 16), "v5p-32": (16, 95)}
KNOWN = {  # params as the hub counts them
    "llava": 7_063_427_072,
    "llava_next": 7_566_747_648,
    "llava_onevision": 893_618_208,
    "qwen2_vl": 2_208_985_600,
    "text_qwen2_vl": 8_291_375_616,
    "qwen2_5_vl": 8_292_166_656,
    "qwen3_vl": 2_127_532_032,
    "gemma3": 4_300_079_472,
    "smolvlm": 256_484_928,
}


def read(name: str) -> dict:
    """What a config file defines."""
    return runpy.run_path(str(CONFIGS / f"{name}.py"))


@pytest.fixture(scope="module")
def scenes():
    """The plan of the default config."""
    return make_plan(read("scenes")["get_config"](), 2, CONFIGS)


@pytest.fixture(scope="module", params=KNOWN)
def family(request):
    """(name, config file, plan for its first hardware) of a public family."""
    file = read(request.param)
    plan = make_plan(file["get_config"](), 1, CONFIGS)
    return request.param, file, plan


def test_params_are_as_many_as_known(family):
    name, _, plan = family
    found = sum(row.count for row in budget.param_rows(plan))
    assert found == pytest.approx(KNOWN[name], rel=0.01)


def test_public_configs_fit_their_hardware(family):
    _, file, plan = family
    for hardware in file["FITS"]:
        devices, gib = DEVICES[hardware]
        config = file["get_config"](hardware)
        plan = dataclasses.replace(plan, config=config, devices=devices)
        text = report(plan, budget.table(plan), Device(devices, gib))
        assert "\nFITS" in text and "to their limits" not in text, text


def test_hardware_that_is_too_small_is_an_error_that_names_others():
    with pytest.raises(ValueError, match="'laptop'; known are gpu-80gb, v5"):
        read("llava")["get_config"]("laptop")


def test_a_session_takes_the_bytes_that_are_allocated(config):
    def nbytes(tree):
        return sum(x.nbytes for x in jax.tree.leaves(tree))

    session = init_session(config, 3, 40)
    assert memory.session_bytes(config, 3, 40) == nbytes(session)
    logits, pending = 4 * 3 * config.vocab_size, 4 * 3
    cache = nbytes(init_cache(config, 3, 40))
    assert memory.session_bytes(config, 3, 40) == cache + logits + pending


def test_split_params_and_caches_take_their_share(config, params):
    mesh = make_mesh(tensor=2)

    def on_one(tree):
        leaves = jax.tree.leaves(tree)
        return sum(x.addressable_shards[0].data.nbytes for x in leaves)

    for axes in ({"tensor": 2}, {"fsdp": 2, "tensor": 2}, {"fsdp": 4}):
        there = on_one(place(make_mesh(**axes), params))
        assert memory.tree_bytes(params, axes) == there
    session = Engine(config, mesh).init(12, 40)
    assert memory.session_bytes(config, 3, 40, 2) == on_one(session)


def test_fsdp_splits_what_training_holds_and_not_what_plays(scenes):
    config = scenes.config.copy_and_resolve_references()
    config.mesh.fsdp = 2
    plan = dataclasses.replace(scenes, config=config)
    assert budget.play_rows(plan) == budget.play_rows(scenes)
    (lesson,) = plan.estimate.lessons
    _, own, state, gradients, whole, _ = budget.train_rows(plan, lesson)
    _, alone, state_alone, *_ = budget.train_rows(scenes, lesson)
    assert 0.5 <= own.bytes / alone.bytes < 0.55
    assert 0.5 <= state.bytes / state_alone.bytes < 0.55
    assert gradients.bytes == 2 * own.bytes
    at_once = {
        path: shape
        for path, shape in plan.shapes.items()
        if ".block_" not in path or path.startswith("decoder.block_0.")
    }
    assert whole.bytes == 2 * memory.tree_bytes(at_once)


def test_a_bank_takes_the_bytes_of_its_image_tokens(config, params, pixels):
    tokens = vlm.encode_images(config, params, pixels)
    assert memory.bank_bytes(config, len(pixels)) == tokens.nbytes


def test_caches_are_as_long_as_a_table_makes_them(scenes, base):
    model, _, tokenizer = base
    table = Table(
        Engine(model, make_mesh(jax.devices()[:2])),
        tokenizer,
        Prompts(),
        GameSettings(**scenes.config.play),
        scenes.config.game.images,
    )
    assert scenes.capacities() == table._capacity
    assert scenes.slots == scenes.config.play.slots // 2


@pytest.mark.parametrize("rank", [0, 4])
def test_what_is_trained_takes_the_bytes_that_are_allocated(scenes, base, rank):
    config = scenes.config.copy_and_resolve_references()
    config.train.lora.rank = rank
    config.train.lora.targets = ("query", "up")
    plan = dataclasses.replace(scenes, config=config)
    trained, c = base[1], config.train
    if rank:
        adapters = lora.LoraConfig(**c.lora)
        trained = lora.init(adapters, trained, jax.random.key(0))
    optimizer = step.make_optimizer(
        step.OptimizerConfig(c.learning_rate, c.steps, c.warmup, c.weight_decay)
    )
    (lesson,) = plan.estimate.lessons
    _, own, state, gradients, _ = budget.train_rows(plan, lesson)
    assert own.bytes == memory.tree_bytes(trained)
    assert state.bytes == memory.tree_bytes(optimizer.init(trained))
    assert gradients.bytes == 2 * own.bytes  # there are several micro-batches


def hidden_sum(config, params, images, length=24):
    """A number that depends on all params of the decoder."""
    tokens = jnp.ones((2, length), jnp.int32)
    slots = jnp.full_like(tokens, -1).at[:, :4].set(jnp.arange(4))
    positions = jnp.broadcast_to(jnp.arange(length), tokens.shape)
    mask = jnp.tril(jnp.ones((2, length, length), bool))
    args = (tokens, slots, images, positions, mask)
    return jnp.sum(jnp.square(vlm.forward(config, params, *args)))


def test_remat_gives_the_same_gradients(config, params):
    images = jnp.ones((4, config.decoder.width))
    gradient = jax.jit(jax.grad(hidden_sum, argnums=1), static_argnums=0)
    kept = gradient(config, params, images)
    again = gradient(dataclasses.replace(config, remat=True), params, images)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5),
        kept,
        again,
    )


def kept_bytes(config, params, length: int) -> int:
    """What JAX keeps of `hidden_sum` for gradients by the image tokens."""
    images = jnp.ones((4, config.decoder.width))

    def back(params, images):
        def loss(images):
            return hidden_sum(config, params, images, length)

        return jax.vjp(loss, images)[1]

    jaxpr = jax.make_jaxpr(back)(params, images).jaxpr
    given = {id(v) for v in (*jaxpr.invars, *jaxpr.constvars)}
    kept = {id(v): v.aval for v in jaxpr.outvars if id(v) not in given}
    return memory.tree_bytes(list(kept.values()))


@pytest.mark.parametrize("remat", [False, True])
def test_activations_are_near_what_jax_keeps(variant, remat):
    """Per block: the rest, such as logits, is the same for any depth."""
    length, tokens = 256, 512
    shallow, deep = (
        variant(depth=depth, width=64, head_dim=16, mlp_width=192)
        for depth in (1, 3)
    )
    found = [
        kept_bytes(dataclasses.replace(c, remat=remat), params, length)
        for c, params in (shallow, deep)
    ]
    decoder = shallow[0].decoder
    expected = memory.learn_block(decoder, "float32", tokens, length)
    if remat:
        expected = 4 * tokens * decoder.width
    assert (found[1] - found[0]) / 2 == pytest.approx(expected, rel=0.25)


def test_without_remat_every_block_is_kept(config):
    def kept(**fields):
        model = dataclasses.replace(config, **fields)
        return memory.train_bytes(model, 2, 32, 2, vision=True)

    whole = memory.learn_block(config.decoder, "float32", 64, 32)
    stream = 64 * config.decoder.width * 4
    encoder, patches = config.vision.encoder, 2 * 16
    seen = memory.learn_block(encoder, "float32", patches, 16)
    narrow = patches * encoder.width * 4
    assert kept() - kept(remat=True) == (
        config.decoder.depth * (whole - stream)
        + encoder.depth * (seen - narrow)
    )


def test_the_table_has_every_row(scenes):
    text, fits = dry_run(scenes.config, Device(2), CONFIGS)
    assert fits
    for name in [
        "vision",
        "connector",
        "decoder",
        "embeddings",
        "params of 2: base, latest",
        "params of 3: base, latest, new",
        "image tokens, to play on: 2560 x 4, views: 2",
        "Guesser's cache: 64 x",
        "Describer's cache: 64 x",
        "games being admitted: a copy",
        "games being admitted: a block",
        "a block, or logits: 64 x",
        "a copy that is trained",
        "optimizer's state",
        "gradients",
        "activations, replay_answer: 16 x 120 tokens",
        "image tokens, held out: 500 x 4, views: 3",
        "FITS",
    ]:
        assert name in text
    table = budget.table(scenes)
    phase, needed = budget.most(table)
    assert needed == max(map(budget.total, list(table.values())[1:]))
    gib = needed / budget.GIB / (1 - budget.RESERVED)
    assert budget.fits(table, gib * 1.001)
    assert not budget.fits(table, gib * 0.999)
    assert "DOES NOT FIT" in report(scenes, table, Device(2, gib * 0.999))


def test_a_folder_of_images_is_counted(scenes, tmp_path):
    for i in range(22):
        (tmp_path / f"{i}.png").touch()
    config = scenes.config.copy_and_resolve_references()
    config.images = str(tmp_path)
    plan = make_plan(config, 2, CONFIGS)
    assert plan.image_counts() == (17, 5)
    text = report(plan, budget.table(plan), Device(2))
    assert "22 files, 17 to play on and 5 held out, before broken" in text


@pytest.mark.parametrize(
    "there, words",
    [
        (None, "photos does not exist"),
        (0, "holds no readable image"),
        (1, "holds 1 readable image; games of 4 images need at least 8"),
    ],
)
def test_images_that_the_run_refuses_are_refused(
    scenes, tmp_path, there, words
):
    folder = tmp_path / "photos"
    if there is not None:
        folder.mkdir()
        for i in range(there):
            (folder / f"{i}.png").touch()
    config = scenes.config.copy_and_resolve_references()
    config.images = str(folder)
    with pytest.raises((ValueError, OSError), match=words):
        make_plan(config, 2, CONFIGS)


def test_a_machine_without_accelerator_is_told_as_it_is(scenes):
    here = find_device(None, None, None)
    text = report(scenes, budget.table(scenes), here)
    assert "of this machine's memory" in text and "or give --tflops" in text
    given = find_device(None, 16.0, 5.0)
    text = report(scenes, budget.table(scenes), given)
    assert "--memory_gib=16." in text and "at 5 TFLOP/s a device" in text
    assert find_device(3, None, None) == Device(3, 80.0, 100.0)


def test_times_are_told_in_units_that_suit_them():
    found = [duration(x) for x in (0.4, 30, 500, 9000, 9e5)]
    assert found == [
        *("a second or two", "30 seconds", "8 minutes", "2 hours", "10 days"),
    ]


def test_a_hub_id_without_a_shape_is_an_error_that_says_what_to_do(scenes):
    config = scenes.config.copy_and_resolve_references()
    config.base = "somebody/some-vlm"
    with pytest.raises(ValueError, match="config.shape"):
        make_plan(config, 1, CONFIGS)


def test_a_model_that_is_given_its_questions_fits_where_others_do():
    config = read("llava")["get_config"]()
    config.play.guess, config.play.questions = "likelihood", ("a ?", "b ?")
    assert budget.fits(budget.table(make_plan(config, 1, CONFIGS)), 80)


def test_given_questions_are_answered_as_many_at_once_as_are_counted(
    monkeypatch,
):
    rows = []
    monkeypatch.setattr(
        questionnaire, "answer", lambda *args: rows.append(args[-1]) or []
    )
    settings = GameSettings(slots=6, questions=("a ?",))
    engine = types.SimpleNamespace(shards=2)
    questionnaire.play_list(engine, None, Prompts(), settings, None, [], (0,))
    assert rows == [3]


def test_slots_that_do_not_split_are_an_error(scenes):
    with pytest.raises(ValueError, match="config.play.slots=128"):
        make_plan(scenes.config, 3, CONFIGS)


@pytest.mark.slow
@pytest.mark.parametrize("gib, status", [(80, 0), (0.01, 1)])
def test_the_command_needs_no_workdir(gib, status):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "vlm_games.main",
            "--config=configs/scenes.py",
            "--dry_run",
            "--devices=2",
            f"--memory_gib={gib}",
        ],
        cwd=ROOT,
        env=os.environ,
        capture_output=True,
        text=True,
    )
    assert done.returncode == status, done.stderr
    assert "params" in done.stdout and "FIT" in done.stdout
    assert math.isclose(
        gib, float(done.stdout.rpartition("=")[2].strip(". \n"))
    )
