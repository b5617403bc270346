"""The preference loss: STIC's regularised DPO over packed pairs."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vlm_games.data.augment import AugmentConfig
from vlm_games.data.examples import Example, read, said
from vlm_games.data.packing import BatchShape, encode, pack
from vlm_games.models.mesh import make_mesh
from vlm_games.models.vlm import encode_images
from vlm_games.sampling.scoring import Scorer
from vlm_games.training import losses
from vlm_games.training.step import init_state, make_train_step

pytestmark = pytest.mark.usefixtures("quick_compiles")

T = 4  # tokens per image of the tiny model
BETA, ALPHA = 0.4, 0.03
KEY = jax.random.key(0)
PLAIN = AugmentConfig()
NO_PIXELS = np.zeros((0, 1, 1, 3), np.uint8)
TOTALS = ("weight", "accuracy", "reward_chosen", "reward_rejected", "margin")


def pair(images, chosen, rejected, reference, ask="answer :") -> Example:
    """Chosen and rejected words after the same images and instruction."""
    trunk = " ".join(["is", *["<image>"] * len(images), "there a circle ?"])
    branches = tuple(
        (read(ask), said(words, weight))
        for words, weight in ((chosen, 1.0), (rejected, 0.5))
    )
    return Example(images, (read(trunk),), branches, reference)


# Responses of one word to four, and no, one, two and three images.
PAIRS = (
    pair((), "red circle", "no", (-9.0, -3.5)),
    pair((2,), "yes", "none circle is a", (-2.0, -7.0)),
    pair((4, 1), "a red", "a color", (-1.0, -1.5), ask="color ? answer :"),
    pair((0, 3, 5), "there is none", "red", (-6.0, -8.0)),
)
TEXT = (PAIRS[0], pair((), "yes yes", "there", (-5.0, -2.0)))


def batch_of(examples, tokenizer, rows, length=64, images=8):
    encoded = [encode(e, tokenizer, T) for e in examples]
    batch, used = pack(encoded, BatchShape(rows, length, images), T)
    assert used == len(examples)
    return batch


def pixels_of(batch, pixels):
    return pixels[batch.images] if len(batch.images) else NO_PIXELS


def numpy_pairs(batch):
    """Every pair's places, walking tokens one by one.

    Returns:
      per pair ([(row, place) of each chosen word], [... rejected],
      reference of either).
    """
    found = {}
    rows, length = batch.tokens.shape
    for row in range(rows):
        for place in range(length):
            branch = int(batch.branches[row, place])
            if branch and batch.weights[row, place] > 0:
                number = (row, int(batch.segments[row, place]))
                places, reference = found.setdefault(number, ({}, {}))
                places.setdefault(branch, []).append((row, place))
                value = float(batch.reference[row, place])
                reference[branch] = reference.get(branch, 0.0) + value
    return [
        (places[1], places[2], reference[1], reference[2])
        for places, reference in found.values()
    ]


def sigmoid(x: float) -> float:
    return 1.0 / (1.0 + np.exp(-x))


def slopes(log_prob, made, beta, alpha):
    """(loss, margins, d loss / d log p(w), d loss / d log p(l)) of pairs.

    With m = beta * ((lw - rw) - (ll - rl)) and loss = log(1 + exp(-m)) - alpha
    * lw: dloss/dlw = -beta * sigma(-m) - alpha, dloss/dll = beta * sigma(-m).
    """
    loss, margins, dw, dl = 0.0, [], [], []
    for chosen, rejected, rw, rl in made:
        lw = sum(log_prob[r, p - 1] for r, p in chosen)
        ll = sum(log_prob[r, p - 1] for r, p in rejected)
        m = beta * ((lw - rw) - (ll - rl))
        loss += np.log1p(np.exp(-m)) - alpha * lw
        margins.append(m)
        dw.append(-beta * sigmoid(-m) - alpha)
        dl.append(beta * sigmoid(-m))
    return loss, np.array(margins), dw, dl


def numpy_log_softmax(logits):
    top = logits.max(axis=-1, keepdims=True)
    return logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))


def tree_close(found, expected, rtol=1e-4, atol=2e-6):
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=atol),
        found,
        expected,
    )


def tree_add(one, other):
    return jax.tree.map(jnp.add, one, other)


@functools.partial(jax.jit, static_argnums=0)
def value_and_gradient(config, params, batch, images, beta, alpha):
    def loss(params):
        return losses.preference(
            config, params, batch, images, beta=beta, alpha=alpha
        )

    return jax.value_and_grad(loss, has_aux=True)(params)


def gradient_of(config, params, batch, pixels, beta=BETA, alpha=ALPHA):
    """((loss, totals), gradient) of a batch."""
    images = pixels_of(batch, pixels)
    return value_and_gradient(config, params, batch, images, beta, alpha)


# References -------------------------------------------------------------------


def test_a_reference_stands_on_the_first_learned_word_of_its_branch(tokenizer):
    found = encode(PAIRS[3], tokenizer, T)
    places = np.flatnonzero(found.reference)
    assert found.reference[places].tolist() == [-6.0, -8.0]
    for number, place in enumerate(places, start=1):
        learned = (found.branches == number) & (found.weights > 0)
        assert place == np.flatnonzero(learned)[0]


def test_a_batch_keeps_the_references(tokenizer):
    batch = batch_of(PAIRS, tokenizer, rows=2)
    assert batch.reference.dtype == np.float32
    found = {(rw, rl) for _, _, rw, rl in numpy_pairs(batch)}
    assert found == {e.reference for e in PAIRS}
    assert np.count_nonzero(batch.reference) == 2 * len(PAIRS)


@pytest.mark.parametrize("reference", [(-1.0,), (-1.0, -2.0, -3.0)])
def test_a_wrong_number_of_references_is_an_error(tokenizer, reference):
    example = dataclasses.replace(PAIRS[0], reference=reference)
    message = f"{len(reference)} references for 2 branches"
    with pytest.raises(ValueError, match=message):
        encode(example, tokenizer, T)


def test_a_reference_of_no_words_is_an_error(tokenizer):
    silent = (PAIRS[0].branches[0], (read("answer :"),))
    example = dataclasses.replace(PAIRS[0], branches=silent)
    with pytest.raises(ValueError, match="Branch 2 .* no learned words"):
        encode(example, tokenizer, T)


# The formula ------------------------------------------------------------------


@pytest.mark.parametrize(
    "beta, alpha", [(BETA, ALPHA), (BETA, 0.0), (0.0, ALPHA), (30.0, ALPHA)]
)
@pytest.mark.parametrize("rows", [2, 6])
def test_loss_and_gradient_in_float64_are_those_derived_by_hand(
    config, tokenizer, monkeypatch, beta, alpha, rows
):
    """A model whose params are the logits; the derivative is written out."""

    def log_probs_of(config, logits, batch, images):
        found = jax.nn.log_softmax(logits)
        at = batch.tokens[:, 1:, None]
        return jnp.take_along_axis(found, at, -1)[..., 0], None

    monkeypatch.setattr(losses, "token_log_probs", log_probs_of)
    batch = batch_of(PAIRS, tokenizer, rows)
    made = numpy_pairs(batch)
    assert len(made) == 4
    rng = np.random.default_rng(0)
    b, length = batch.tokens.shape
    logits = 3.0 * rng.standard_normal((b, length - 1, config.vocab_size))

    @functools.partial(jax.value_and_grad, has_aux=True)
    def ours(logits):
        return losses.preference(
            config, logits, batch, NO_PIXELS, beta=beta, alpha=alpha
        )

    with jax.enable_x64(True):
        found = jax.device_get(ours(jnp.asarray(logits)))
    (loss, totals), gradient = found
    assert loss.dtype == gradient.dtype == np.float64
    whole = numpy_log_softmax(logits)
    one_hot = np.eye(config.vocab_size)[batch.tokens[:, 1:]]
    log_prob = (whole * one_hot).sum(-1)
    expected, margins, dw, dl = slopes(log_prob, made, beta, alpha)
    by_hand = np.zeros_like(logits)
    for (chosen, rejected, _, _), up, down in zip(made, dw, dl, strict=True):
        # d log p(token) / d logits = one hot of it - softmax
        for slope, places in ((up, chosen), (down, rejected)):
            for r, p in places:
                change = one_hot[r, p - 1] - np.exp(whole[r, p - 1])
                by_hand[r, p - 1] += slope * change
    np.testing.assert_allclose(loss, expected, rtol=1e-12)
    np.testing.assert_allclose(gradient, by_hand, rtol=1e-10, atol=1e-14)
    assert totals["weight"] == 4
    assert totals["accuracy"] == (margins > 0).sum()
    np.testing.assert_allclose(totals["margin"], margins.sum(), rtol=1e-10)
    if beta:
        assert 0 < totals["accuracy"] < 4


@pytest.mark.slow
def test_the_gradient_of_the_model_is_that_of_each_response_alone(
    config, params, tokenizer, pixels
):
    """Each response as plain text of its own; slopes by hand join them."""

    @jax.jit
    @jax.value_and_grad
    def alone(params, batch, images):
        """Log-probability of the learned words, by the cross-entropy."""
        ones = (batch.weights > 0).astype(jnp.float32)
        batch = dataclasses.replace(batch, weights=ones)
        return -losses.cross_entropy(config, params, batch, images)[0]

    expected, gradient, rewards = 0.0, None, []
    for example in PAIRS:
        found = []
        for branch in example.branches:
            text = Example(example.images, (*example.trunk, *branch))
            batch = batch_of([text], tokenizer, 1, 24, len(example.images))
            found.append(alone(params, batch, pixels_of(batch, pixels)))
        (lw, gw), (ll, gl) = found
        rw, rl = example.reference
        m = BETA * ((float(lw) - rw) - (float(ll) - rl))
        expected += np.log1p(np.exp(-m)) - ALPHA * float(lw)
        rewards.append((BETA * (float(lw) - rw), BETA * (float(ll) - rl)))
        up, down = -BETA * sigmoid(-m) - ALPHA, BETA * sigmoid(-m)
        part = jax.tree.map(lambda x, y, u=up, d=down: u * x + d * y, gw, gl)
        gradient = part if gradient is None else tree_add(gradient, part)
    batch = batch_of(PAIRS, tokenizer, rows=2)
    (loss, totals), ours = gradient_of(config, params, batch, pixels)
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    tree_close(ours, gradient)
    assert float(optax.global_norm(gradient)) > 0.1
    chosen, rejected = np.sum(rewards, axis=0)
    assert float(totals["reward_chosen"]) == pytest.approx(chosen, rel=1e-4)
    assert float(totals["reward_rejected"]) == pytest.approx(rejected, rel=1e-4)


# Packing ----------------------------------------------------------------------


def test_packed_pairs_add_up_to_those_of_one_pair_per_batch(
    config, params, tokenizer, pixels
):
    whole = gradient_of(
        config, params, batch_of(PAIRS, tokenizer, rows=2), pixels
    )
    parts = [
        gradient_of(config, params, batch_of([e], tokenizer, 1, 40, 3), pixels)
        for e in PAIRS
    ]
    assert sorted(whole[0][1]) == sorted(TOTALS)
    tree_close(whole, functools.reduce(tree_add, parts))


@pytest.mark.slow
def test_padding_and_examples_that_are_no_pairs_count_for_nothing(
    config, params, tokenizer, pixels
):
    plain = Example((), (read("is there a"), said("circle ? yes")))
    single = Example((), (read("is"),), ((read("answer :"), said("red")),))
    only, more, none = (
        gradient_of(config, params, batch_of(*made), pixels)
        for made in (
            (PAIRS, tokenizer, 2),
            ([plain, *PAIRS, single], tokenizer, 4),
            ([plain, single], tokenizer, 2, 64, 0),
        )
    )
    tree_close(more, only)
    assert not any(np.any(x) for x in jax.tree.leaves(none))


def test_rewards_are_zero_under_the_reference_itself(
    config, params, tokenizer, pixels
):
    """What the scorer says of pairs, with images and of text alone."""
    scorer = Scorer(config, tokenizer, make_mesh(), rows=1)
    images = jax.jit(encode_images, static_argnums=0)(config, params, pixels)
    for pairs, bank in ((PAIRS, images.reshape(-1, 32)), (TEXT, None)):
        scores = scorer.score(params, bank, pairs)
        examples = [
            dataclasses.replace(e, reference=tuple(s.log_prob for s in found))
            for e, found in zip(pairs, scores, strict=True)
        ]
        room = 0 if bank is None else 8
        batch = batch_of(examples, tokenizer, 2, images=room)
        (_, totals), _ = gradient_of(config, params, batch, pixels)
        for name in ("reward_chosen", "reward_rejected", "margin"):
            assert abs(float(totals[name])) < 1e-4, name


def test_swapped_pairs_flip_the_margin(config, params, tokenizer, pixels):
    swapped = [
        dataclasses.replace(
            e, branches=e.branches[::-1], reference=e.reference[::-1]
        )
        for e in PAIRS
    ]
    (_, one), (_, other) = (
        gradient_of(config, params, batch_of(p, tokenizer, 2), pixels)[0]
        for p in (PAIRS, swapped)
    )
    assert abs(float(one["margin"])) > 0.01
    np.testing.assert_allclose(one["margin"], -other["margin"], rtol=1e-4)
    np.testing.assert_allclose(
        one["reward_chosen"], other["reward_rejected"], rtol=1e-4
    )
    assert float(one["accuracy"] + other["accuracy"]) == len(PAIRS)


@pytest.mark.slow
def test_without_beta_the_rejected_response_is_not_learned_from(
    config, params, tokenizer, pixels
):
    """The positive term alone: cross-entropy of the chosen words, scaled."""
    chosen = [dataclasses.replace(e, branches=e.branches[:1]) for e in PAIRS]
    chosen = [dataclasses.replace(e, reference=()) for e in chosen]
    batch = batch_of(chosen, tokenizer, rows=2)

    @jax.jit
    @jax.value_and_grad
    def scaled(params):
        images = pixels[batch.images]
        return ALPHA * losses.cross_entropy(config, params, batch, images)[0]

    cross_entropy, expected = scaled(params)
    (loss, totals), found = gradient_of(
        config, params, batch_of(PAIRS, tokenizer, rows=2), pixels, beta=0.0
    )
    tree_close(found, expected, atol=1e-7)
    expected = len(PAIRS) * np.log(2) + cross_entropy
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)
    assert float(totals["accuracy"]) == float(totals["margin"]) == 0.0


# The step ---------------------------------------------------------------------


def shards_of(examples, tokenizer, shards, images):
    """One row per shard, pairs in turn; some shards may be empty."""
    parts = [
        batch_of(examples[s::shards], tokenizer, 1, 64, images)
        for s in range(shards)
    ]
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)


def preference_step(config, optimizer, mesh, views=PLAIN):
    loss = functools.partial(losses.preference, beta=BETA, alpha=ALPHA)
    return make_train_step(config, optimizer, mesh, views, loss=loss)


@pytest.mark.slow
@pytest.mark.parametrize("images", [6, 0], ids=["images", "text alone"])
def test_eight_devices_give_the_step_of_one(
    config, params, tokenizer, pixels, images
):
    """There are fewer pairs than devices: some have none."""
    examples = PAIRS if images else TEXT
    moved, metrics = [], []
    for devices, rows in ((1, 4), (8, 8)):
        optimizer = optax.sgd(1.0)
        mesh = make_mesh(jax.devices()[:devices])
        step = preference_step(config, optimizer, mesh)
        if devices == 1:
            batch = batch_of(examples, tokenizer, rows, 64, images)
        else:
            batch = shards_of(examples, tokenizer, rows, min(images, 3))
        state, found = step(
            init_state(params, optimizer, mesh),
            None,
            (batch,),
            (pixels_of(batch, pixels),),
            KEY,
        )
        moved.append(jax.device_get(state.params))
        metrics.append(jax.device_get(found))
    tree_close(moved[1], moved[0])
    tree_close(metrics[1], metrics[0])
    assert sorted(metrics[0]) == sorted(
        {*TOTALS, "loss", "grad_norm"} - {"weight"}
    )
    (loss, totals), gradient = gradient_of(
        config, params, batch_of(examples, tokenizer, 4, images=images), pixels
    )
    assert metrics[0]["loss"] == pytest.approx(
        float(loss) / len(examples), rel=1e-5
    )
    by = jax.tree.map(lambda p, g: p - g / len(examples), params, gradient)
    tree_close(moved[0], jax.device_get(by))


@pytest.mark.parametrize("name", ["preference", "cross_entropy"])
def test_text_alone_gives_no_gradient_to_vision_and_connector(
    config, params, tokenizer, name
):
    optimizer = optax.sgd(1.0)
    mesh = make_mesh(jax.devices()[:1])
    views = AugmentConfig(strength=1.0)
    if name == "preference":
        step = preference_step(config, optimizer, mesh, views)
    else:
        step = make_train_step(config, optimizer, mesh, views)
    batch = batch_of(TEXT, tokenizer, 2, 64, 0)
    state, metrics = step(
        init_state(params, optimizer, mesh), None, (batch,), (NO_PIXELS,), KEY
    )
    moved = jax.tree.map(
        lambda x, y: bool(np.any(x != y)), params, state.params
    )
    assert not any(jax.tree.leaves([moved["vision"], moved["connector"]]))
    assert any(jax.tree.leaves(moved["decoder"]))
    assert float(metrics["grad_norm"]) > 0


@pytest.mark.slow
def test_text_and_images_may_be_micro_batches_of_one_step(
    config, params, tokenizer, pixels
):
    optimizer, mesh = optax.sgd(1.0), make_mesh(jax.devices()[:1])
    step = preference_step(config, optimizer, mesh)
    text = batch_of(TEXT, tokenizer, 2, 64, 0)
    seen = batch_of(PAIRS[1:], tokenizer, 2)
    batches, images = (text, seen), (NO_PIXELS, pixels[seen.images])
    state, metrics = step(
        init_state(params, optimizer, mesh), None, batches, images, KEY
    )
    parts = [gradient_of(config, params, b, pixels) for b in batches]
    total = functools.reduce(tree_add, parts)
    count = len(TEXT) + len(PAIRS[1:])
    assert float(total[0][1]["weight"]) == count
    expected = float(total[0][0]) / count
    assert float(metrics["loss"]) == pytest.approx(expected, rel=1e-5)
    moved = jax.tree.map(lambda x, g: x - g / count, params, total[1])
    tree_close(jax.device_get(state.params), jax.device_get(moved))


@pytest.mark.slow
def test_steps_widen_the_margin(config, params, tokenizer, pixels):
    optimizer, mesh = optax.adam(3e-3), make_mesh(jax.devices()[:1])
    step = preference_step(config, optimizer, mesh)
    state = init_state(params, optimizer, mesh)
    batch = batch_of(PAIRS, tokenizer, rows=2)
    found = []
    for _ in range(20):
        state, metrics = step(
            state, None, (batch,), (pixels[batch.images],), KEY
        )
        found.append(jax.device_get(metrics))
    assert found[0]["accuracy"] < 1.0
    assert found[-1]["accuracy"] == 1.0
    assert found[-1]["margin"] > found[0]["margin"] + 1.0
    assert found[-1]["loss"] < 0.5 * found[0]["loss"]
    assert found[-1]["margin"] == pytest.approx(
        found[-1]["reward_chosen"] - found[-1]["reward_rejected"], rel=1e-4
    )
    assert step._cache_size() == 1
