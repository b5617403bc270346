"""The training step, its optimizer, and the views it trains on."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vlm_games.data.augment import AugmentConfig, augment, augment_each
from vlm_games.data.examples import Example, Piece
from vlm_games.data.packing import BatchShape, encode, pack
from vlm_games.models.mesh import make_mesh
from vlm_games.training.losses import cross_entropy
from vlm_games.training.step import (
    OptimizerConfig,
    init_state,
    make_optimizer,
    make_train_step,
)

pytestmark = pytest.mark.usefixtures("quick_compiles")

T, LENGTH = 4, 20
KEY = jax.random.key(0)
LOSS = jax.jit(cross_entropy, static_argnums=0)
AUGMENT = jax.jit(augment, static_argnums=2)
VIEWS = jax.jit(augment_each, static_argnums=2)
PLAIN = AugmentConfig()
STRONG = AugmentConfig(strength=1.0)


@pytest.fixture(scope="module")
def encoded(tokenizer):
    """Eight rows; each with one image, its own words, its own weights."""
    colors, answers = ["red", "a", "what", "is"], ["yes", "no none"]
    return [
        encode(
            Example(
                (k % 6,),
                (Piece(f"<image> is there {colors[k % 4]} ?"),),
                (
                    (Piece("answer :"), Piece(answers[k % 2], 1.0 + k)),
                    (Piece("color ?"), Piece("circle", 0.5)),
                ),
            ),
            tokenizer,
            T,
        )
        for k in range(8)
    ]


def batch_of(encoded, pixels, shards: int = 1):
    """One row per example; image slots count within each shard of rows."""
    rows = len(encoded) // shards
    shape = BatchShape(rows, LENGTH, rows)
    parts = []
    for s in range(shards):
        part, used = pack(encoded[s * rows : (s + 1) * rows], shape, T)
        assert used == rows
        parts.append(part)
    batch = jax.tree.map(lambda *x: np.concatenate(x), *parts)
    return batch, pixels[batch.images]


@pytest.fixture(scope="module")
def steps(config):
    """A plain gradient step (learning rate 1) on meshes of 1, 8, and 4 x 2."""
    optimizer = optax.sgd(1.0)
    meshes = {n: make_mesh(jax.devices()[:n]) for n in (1, 8)}
    meshes["4 x 2"] = make_mesh(tensor=2)
    return {
        n: (make_train_step(config, optimizer, mesh, PLAIN), optimizer, mesh)
        for n, mesh in meshes.items()
    }


@pytest.fixture(scope="module")
def gradient_of(steps, params):
    """Gradient by which a step on the micro-batches moved the params."""

    def compute(devices, *made):
        step, optimizer, mesh = steps[devices]
        state = init_state(params, optimizer, mesh)
        batches, pixels = zip(*made, strict=True)
        state, metrics = step(state, None, batches, pixels, KEY)
        moved = jax.tree.map(lambda x, y: x - y, params, state.params)
        return jax.device_get((moved, metrics))

    return compute


def assert_trees_close(found, expected, atol=2e-6):
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=atol),
        found,
        expected,
    )


# Gradients --------------------------------------------------------------------


def test_loss_is_the_weighted_mean_over_learned_tokens(
    gradient_of, config, params, encoded, pixels
):
    batch, images = batch_of(encoded, pixels)
    total, sums = LOSS(config, params, batch, images)
    weight = sum(e.weights.sum() for e in encoded)
    assert float(sums["weight"]) == pytest.approx(weight)
    _, metrics = gradient_of(1, (batch, images))
    assert metrics["loss"] == pytest.approx(float(total / weight), rel=1e-5)
    share = float(sums["accuracy"] / weight)
    assert metrics["accuracy"] == pytest.approx(share, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("devices, shards", [(1, 1), (8, 8), ("4 x 2", 4)])
def test_the_step_moves_by_the_unsharded_gradient(
    gradient_of, config, params, encoded, pixels, devices, shards
):
    batch, images = batch_of(encoded, pixels)

    @jax.jit
    @jax.grad
    def gradient(params):
        loss, sums = cross_entropy(config, params, batch, images)
        return loss / sums["weight"]

    expected = gradient(params)
    found, metrics = gradient_of(devices, batch_of(encoded, pixels, shards))
    norm = float(optax.global_norm(expected))
    assert norm > 0.1
    assert metrics["grad_norm"] == pytest.approx(norm, rel=1e-4)
    assert_trees_close(found, jax.device_get(expected))


def test_the_gradient_is_the_slope_of_the_loss(
    gradient_of, config, params, encoded, pixels
):
    made = batch_of(encoded, pixels)
    found, _ = gradient_of(1, made)
    rng = np.random.default_rng(0)
    along = jax.tree.map(lambda x: rng.normal(size=x.shape), found)

    @jax.jit
    def loss(distance):
        moved = jax.tree.map(lambda x, d: x + distance * d, params, along)
        total, sums = cross_entropy(config, moved, *made)
        return total / sums["weight"]

    slope = float(loss(1e-3) - loss(-1e-3)) / 2e-3
    products = jax.tree.map(lambda g, d: np.sum(g * d), found, along)
    assert slope == pytest.approx(sum(jax.tree.leaves(products)), rel=0.02)


@pytest.mark.slow
def test_micro_batches_add_up_to_one_big_batch(gradient_of, encoded, pixels):
    whole, metrics = gradient_of(1, batch_of(encoded, pixels))
    halves = [batch_of(encoded[:4], pixels), batch_of(encoded[4:], pixels)]
    found, accumulated = gradient_of(1, *halves)
    assert_trees_close(found, whole)
    assert_trees_close(accumulated, metrics)


def test_micro_batches_are_augmented_one_by_one(
    steps, config, params, encoded, pixels
):
    plain, optimizer, mesh = steps[1]
    strong = make_train_step(config, optimizer, mesh, STRONG)
    halves = [batch_of(encoded[:4], pixels), batch_of(encoded[4:], pixels)]
    batches, images = zip(*halves, strict=True)

    def loss(step, augmented):
        state = init_state(params, optimizer, mesh)
        _, metrics = step(state, None, batches, images, KEY, augmented)
        return float(metrics["loss"])

    whole = loss(plain, None)
    losses = [loss(strong, seen) for seen in ((True, True), (True, False))]
    assert loss(strong, (False, False)) == whole
    assert loss(strong, None) == losses[0]
    assert len({whole, *losses}) == 3


def test_words_of_weight_zero_give_no_gradient(gradient_of, encoded, pixels):
    batch, images = batch_of(encoded, pixels)
    silent = dataclasses.replace(batch, weights=0 * batch.weights)
    found, metrics = gradient_of(1, (silent, images))
    assert metrics == {"loss": 0.0, "accuracy": 0.0, "grad_norm": 0.0}
    assert not any(np.any(g) for g in jax.tree.leaves(found))


def test_rows_of_weight_zero_do_not_count(gradient_of, encoded, pixels):
    batch, images = batch_of(encoded, pixels)
    weights = batch.weights.copy()
    weights[4:] = 0.0
    masked = dataclasses.replace(batch, weights=weights)
    found, _ = gradient_of(1, (masked, images))
    other = batch.tokens.copy()
    other[4:] = 7
    changed = dataclasses.replace(masked, tokens=other)
    expected, _ = gradient_of(1, (changed, images))
    assert_trees_close(found, expected)


# Updates ----------------------------------------------------------------------


def test_loss_falls_on_one_batch_without_recompiling(
    config, params, encoded, pixels
):
    optimizer = make_optimizer(OptimizerConfig(1e-2, steps=40, warmup=2))
    mesh = make_mesh()
    step = make_train_step(config, optimizer, mesh, PLAIN)
    state = init_state(params, optimizer, mesh)
    batch, images = batch_of(encoded, pixels, 8)
    losses = []
    for _ in range(25):
        state, metrics = step(state, None, (batch,), (images,), KEY)
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.2 * losses[0]
    assert int(state.step) == 25
    assert step._cache_size() == 1


def test_the_state_is_donated_but_not_the_params_it_was_made_from(
    steps, params, encoded, pixels
):
    step, optimizer, mesh = steps[1]
    state = init_state(params, optimizer, mesh)
    batch, images = batch_of(encoded, pixels)
    step(state, None, (batch,), (images,), KEY)
    assert all(x.is_deleted() for x in jax.tree.leaves(state.params))
    assert not any(x.is_deleted() for x in jax.tree.leaves(params))


def test_weight_decay_leaves_biases_and_scales_alone(variant):
    _, params = variant(qkv_bias=True, mlp_bias=True, qk_norm=True)
    optimizer = make_optimizer(OptimizerConfig(0.1, steps=10, weight_decay=0.5))
    still = jax.tree.map(jnp.zeros_like, params)
    updates, _ = jax.jit(optimizer.update)(
        still, optimizer.init(params), params
    )
    flat, _ = jax.tree_util.tree_flatten_with_path(updates)
    for path, update in flat:
        kept = path[-1].key in ("bias", "scale")
        assert np.any(update) != kept, jax.tree_util.keystr(path)


def test_learning_rate_warms_up_and_decays(params):
    optimizer = make_optimizer(OptimizerConfig(0.1, steps=20, warmup=5))
    weights = {"kernel": jnp.zeros((2, 2))}
    state, sizes = optimizer.init(weights), []
    update = jax.jit(optimizer.update)
    for _ in range(20):
        # Adam's updates to a constant gradient have the learning rate's size.
        updates, state = update({"kernel": jnp.ones((2, 2))}, state, weights)
        sizes.append(float(-updates["kernel"][0, 0]))
    assert sizes[0] == 0.0
    assert np.argmax(sizes) == 5
    assert sizes[5] == pytest.approx(0.1, rel=1e-2)
    assert sizes[-1] < 0.005


# Views ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def picture():
    """A bright patch off the centre of a dark 16 x 16 image."""
    image = np.full((16, 16, 3), 60, np.uint8)
    image[3:7, 9:14] = (200, 120, 90)
    return image


def test_strength_zero_is_the_image_itself(picture):
    images = picture[None]
    found = augment(KEY, images, AugmentConfig(strength=0.0))
    np.testing.assert_array_equal(found, images)


def test_a_view_is_uint8_of_the_same_shape_and_not_the_image(picture):
    images = np.stack([picture, picture])
    views = np.asarray(augment(KEY, images, STRONG))
    assert views.dtype == np.uint8
    assert views.shape == images.shape
    changed = np.abs(views.astype(int) - images).mean(axis=(1, 2, 3))
    assert changed.min() > 1.0
    # Two copies of an image are seen differently.
    assert np.abs(views[0].astype(int) - views[1]).mean() > 1.0


def test_the_same_key_gives_the_same_view(picture):
    images = picture[None]
    first = AUGMENT(jax.random.key(5), images, STRONG)
    again = AUGMENT(jax.random.key(5), images, STRONG)
    other = AUGMENT(jax.random.key(6), images, STRONG)
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)


def test_a_view_depends_on_its_own_key_alone(picture):
    keys = jax.random.split(KEY, 3)
    images = np.stack([picture, 255 - picture, picture[::-1]])
    together = np.asarray(VIEWS(keys, images, STRONG), int)
    apart = np.asarray(VIEWS(keys[1:2], images[1:2], STRONG), int)
    # Compiled for another batch size, a value may round the other way.
    assert np.abs(together[1] - apart[0]).max() <= 1


def test_views_keep_every_thing_in_its_place(picture):
    keys = jax.random.split(KEY, 64)
    images = np.broadcast_to(picture, (64, *picture.shape))
    mean = np.asarray(VIEWS(keys, images, STRONG)).mean((0, 3))
    truth = picture.mean(axis=-1)

    def likeness(moved):
        return np.corrcoef(moved.ravel(), truth.ravel())[0, 1]

    in_place = likeness(mean)
    assert in_place > 0.95
    moves = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]
    moved = [np.roll(mean, move, (0, 1)) for move in moves]
    moved += [mean[::-1], mean[:, ::-1], mean.T]
    assert in_place > max(map(likeness, moved)) + 0.05


def test_more_strength_strays_further(picture):
    keys = jax.random.split(KEY, 64)
    images = np.broadcast_to(picture, (64, *picture.shape))

    def strayed(strength):
        views = VIEWS(keys, images, AugmentConfig(strength=strength))
        return np.abs(np.asarray(views, int) - images).mean()

    assert strayed(0.3) < 0.7 * strayed(1.2)
