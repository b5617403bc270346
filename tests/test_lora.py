"""Low-rank adapters: what they compute, what they cost, what learns."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.extend.core import jaxprs_in_params

from vlm_games.data.augment import AugmentConfig
from vlm_games.data.examples import Example, Piece
from vlm_games.data.packing import BatchShape, encode, pack
from vlm_games.models import vlm
from vlm_games.models.mesh import make_mesh
from vlm_games.training import lora
from vlm_games.training.losses import cross_entropy
from vlm_games.training.step import (
    OptimizerConfig,
    init_state,
    make_optimizer,
    make_train_step,
)

pytestmark = pytest.mark.usefixtures("quick_compiles")

T, LENGTH, RANK = 4, 20, 3
KEY = jax.random.key(0)
LORA = lora.LoraConfig(rank=RANK, alpha=6.0)
WHOLE = dataclasses.replace(LORA, parts=lora.PARTS)


@pytest.fixture(scope="module")
def made(tokenizer, pixels):
    """(packed rows with one image each, their pixels)."""
    encoded = [
        encode(
            Example(
                (k,),
                (Piece("<image> is there"),),
                ((Piece("answer :"), Piece(word, 1.0)),),
            ),
            tokenizer,
            T,
        )
        for k, word in enumerate(("red ?", "yes", "no", "circle"))
    ]
    batch, _ = pack(encoded, BatchShape(4, LENGTH, 4), T)
    return batch, pixels[batch.images]


@pytest.fixture(scope="module")
def adapters(params):
    """Of every linear map; neither A nor B is zero."""
    fresh = lora.init(WHOLE, params, KEY)
    rng = np.random.default_rng(1)
    return jax.tree.map(
        lambda x: jnp.asarray(0.2 * rng.standard_normal(x.shape), x.dtype),
        fresh,
    )


def norm_of_difference(found, expected) -> float:
    """norm(found - expected) / norm(expected)."""
    found, expected = np.asarray(found), np.asarray(expected)
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def logits(config, params, pixels):
    """Of a few words after two images, through the whole model."""
    images = vlm.encode_images(config, params, pixels[:2]).reshape(2 * T, -1)
    tokens = jnp.arange(12)[None] + 5
    places = jnp.arange(12)[None]
    slots = jnp.where(places < 2 * T, places, -1)
    mask = jnp.tril(jnp.ones((1, 12, 12), bool))
    hidden = vlm.forward(config, params, tokens, slots, images, places, mask)
    return vlm.unembed(config, params, hidden)


LOGITS = jax.jit(logits, static_argnums=0)
MERGE = jax.jit(lora.merge, static_argnums=0)


# What they compute ------------------------------------------------------------


def test_fresh_adapters_change_nothing(config, params, pixels):
    fresh = lora.init(WHOLE, params, KEY)
    found = LOGITS(config, lora.attach(WHOLE, params, fresh), pixels)
    np.testing.assert_array_equal(found, LOGITS(config, params, pixels))


def test_attached_adapters_compute_what_merged_ones_do(
    config, params, adapters, pixels
):
    attached = LOGITS(config, lora.attach(WHOLE, params, adapters), pixels)
    merged = LOGITS(config, MERGE(WHOLE, params, adapters), pixels)
    assert norm_of_difference(attached, merged) < 1e-5
    assert norm_of_difference(attached, LOGITS(config, params, pixels)) > 0.1


def test_a_merged_kernel_is_the_formula(params, adapters):
    merged = MERGE(WHOLE, params, adapters)
    for name, inputs in (("query", 1), ("out", 2)):
        one = params["decoder"]["block_1"]["attention"][name]["kernel"]
        both = adapters["decoder"]["block_1"]["attention"][name]
        a, b = both["kernel_lora_a"], both["kernel_lora_b"]
        assert a.shape[0] == np.prod(one.shape[:inputs])
        expected = one + (6.0 / RANK * (a @ b)).reshape(one.shape)
        found = merged["decoder"]["block_1"]["attention"][name]["kernel"]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("part", lora.PARTS)
def test_adapters_of_each_part_are_felt(config, params, adapters, pixels, part):
    one = {part: adapters[part]}
    found = LOGITS(config, lora.attach(WHOLE, params, one), pixels)
    assert norm_of_difference(found, LOGITS(config, params, pixels)) > 1e-3


# Where they start -------------------------------------------------------------


@pytest.mark.parametrize(
    "draw, spread", [("uniform", (3 * 32) ** -0.5), ("normal", 1 / 64)]
)
def test_a_is_drawn_as_in_peft_and_b_is_zero(params, draw, spread):
    config = lora.LoraConfig(rank=64, targets=("query",), draw=draw)
    fresh = lora.init(config, params, KEY)
    both = fresh["decoder"]["block_0"]["attention"]["query"]
    a = np.asarray(both["kernel_lora_a"])
    assert a.shape == (32, 64) and a.dtype == np.float32
    assert a.std() == pytest.approx(spread, rel=0.05)
    if draw == "uniform":
        assert np.abs(a).max() <= 32**-0.5
    assert not np.any(both["kernel_lora_b"])


def test_a_map_starts_the_same_whatever_else_has_adapters(params):
    one = lora.init(dataclasses.replace(LORA, targets=("up",)), params, KEY)
    all_ = lora.init(WHOLE, params, KEY)
    jax.tree.map(
        np.testing.assert_array_equal,
        one["decoder"]["block_1"]["mlp"]["up"],
        all_["decoder"]["block_1"]["mlp"]["up"],
    )
    first, second = (all_["decoder"][f"block_{i}"]["mlp"]["up"] for i in (0, 1))
    assert np.any(first["kernel_lora_a"] != second["kernel_lora_a"])


def test_shapes_are_enough_to_start_from(config, params):
    shapes = jax.eval_shape(lambda: vlm.init_params(config, KEY))
    jax.tree.map(
        np.testing.assert_array_equal,
        lora.init(WHOLE, shapes, KEY),
        lora.init(WHOLE, params, KEY),
    )


def test_a_model_without_gates_needs_no_other_targets(variant):
    _, params = variant(gated=False)
    fresh = lora.init(lora.LoraConfig(), params, KEY)
    assert set(fresh["decoder"]["block_0"]["mlp"]) == {"up", "down"}


@pytest.mark.parametrize(
    "fields, said",
    [
        ({"targets": ("query", "q_proj")}, "nothing for q_proj: .*query"),
        (
            {"targets": ("query",), "parts": ("decoder", "connector")},
            "nothing for connector: .*down.*query",
        ),
        ({"targets": ()}, "nothing for decoder"),
        ({"parts": ("language",)}, "language.*decoder"),
        ({"rank": 0}, "rank=0"),
        ({"draw": "gaussian"}, "draw='gaussian'.*normal"),
    ],
)
def test_a_config_that_does_not_fit_is_an_error(params, fields, said):
    with pytest.raises(ValueError, match=said):
        lora.init(lora.LoraConfig(**fields), params, KEY)


# What learns ------------------------------------------------------------------


def test_gradients_have_the_adapters_shape_and_reach_each(
    config, params, adapters, made
):
    @jax.jit
    @jax.grad
    def gradient(adapters):
        whole = lora.attach(WHOLE, params, adapters)
        return cross_entropy(config, whole, *made)[0]

    found = gradient(adapters)
    assert jax.tree.structure(found) == jax.tree.structure(adapters)
    for path, x in jax.tree_util.tree_leaves_with_path(found):
        assert np.any(x), jax.tree_util.keystr(path)


def products(jaxpr) -> set[tuple[int, ...]]:
    """Shapes of all matrix products of a computation."""
    found = set()
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            found.add(equation.outvars[0].aval.shape)
        for inner in jaxprs_in_params(equation.params):
            found |= products(inner)
    return found


@pytest.mark.parametrize("combine", [lora.attach, lora.merge])
def test_attached_no_gradient_of_a_kernels_size_is_formed(
    variant, made, combine
):
    config, params = variant(mlp_width=56)
    fresh = lora.init(LORA, params, KEY)

    def loss(adapters):
        whole = combine(LORA, params, adapters)
        return cross_entropy(config, whole, *made)[0]

    found = products(jax.make_jaxpr(jax.grad(loss))(fresh).jaxpr)
    formed = bool(found & {(32, 56), (56, 32)})
    assert formed == (combine is lora.merge)


def test_optimizer_state_has_the_size_of_the_adapters(params):
    optimizer = make_optimizer(OptimizerConfig(1e-2, steps=9, weight_decay=0.1))
    fresh = lora.init(LORA, params, KEY)
    state = init_state(fresh, optimizer, make_mesh())

    def size(tree):
        return sum(x.size for x in jax.tree.leaves(tree) if x.ndim)

    assert size(state.opt_state) == 2 * size(fresh)
    assert size(state.params) == size(fresh)
    assert size(fresh) == sum(
        RANK * sum(sizes) for sizes in lora.chosen(LORA, params).values()
    )


def test_loss_falls_while_the_base_stays(config, params, made):
    optimizer, mesh = optax.adam(2e-2), make_mesh(jax.devices()[:1])
    step = make_train_step(
        config,
        optimizer,
        mesh,
        AugmentConfig(),
        assemble=functools.partial(lora.attach, LORA),
    )
    before, losses = jax.tree.map(np.array, params), []
    state = init_state(lora.init(LORA, params, KEY), optimizer, mesh)
    batch, images = made
    for _ in range(40):
        state, metrics = step(state, params, (batch,), (images,), KEY)
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.2 * losses[0]
    assert step._cache_size() == 1
    jax.tree.map(np.testing.assert_array_equal, params, before)


def test_blocks_computed_anew_give_the_same_gradient(
    config, params, adapters, made
):
    @functools.partial(jax.jit, static_argnums=0)
    def gradient(config, adapters):
        def loss(adapters):
            whole = lora.attach(WHOLE, params, adapters)
            return cross_entropy(config, whole, *made)[0]

        return jax.grad(loss)(adapters)

    kept = gradient(config, adapters)
    anew = gradient(dataclasses.replace(config, remat=True), adapters)
    for found, expected in zip(
        jax.tree.leaves(anew), jax.tree.leaves(kept), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
