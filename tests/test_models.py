"""The model: reading in any split, images anywhere, checkpoints."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from vlm_games.models import cache as caches
from vlm_games.models import vlm
from vlm_games.models.checkpoint import load_model, save_model
from vlm_games.models.config import RopeConfig, TransformerConfig, VLMConfig
from vlm_games.models.layers import attend, make_norm, rotary, turn_by
from vlm_games.models.vision import Connector, square_patches

pytestmark = pytest.mark.usefixtures("quick_compiles")

CAPACITY = 24
CLOSE = {"rtol": 1e-5, "atol": 1e-5}

encode_images = jax.jit(vlm.encode_images, static_argnums=0)
forward = jax.jit(vlm.forward, static_argnums=0)
extend = jax.jit(vlm.extend, static_argnums=0)


@dataclasses.dataclass(frozen=True)
class Text:
    """Rows of token ids; `lengths` says how much of each is real."""

    tokens: np.ndarray
    slots: np.ndarray
    lengths: np.ndarray


def lay_out(config, *rows) -> Text:
    """Rows of words (ints) and images (strings: "2" is image 2)."""
    t = config.tokens_per_image
    tokens, slots = [], []
    for row in rows:
        ids, at = [], []
        for item in row:
            if isinstance(item, str):
                ids += [config.image_token_id] * t
                at += [int(item) * t + i for i in range(t)]
            else:
                ids.append(item)
                at.append(-1)
        tokens.append(ids)
        slots.append(at)
    lengths = np.array([len(ids) for ids in tokens], np.int32)
    full = (len(rows), int(lengths.max()))
    # Padding is a word, not a zero: whoever reads it is found out.
    padded = Text(np.full(full, 9, np.int32), np.full(full, -1), lengths)
    for b, (ids, at) in enumerate(zip(tokens, slots, strict=True)):
        padded.tokens[b, : len(ids)] = ids
        padded.slots[b, : len(ids)] = at
    return padded


def ragged_text(config) -> Text:
    """Rows with no image, one in the midst, and three: first, last, twice."""
    return lay_out(
        config,
        [5, 6, 7, 8, 10],
        [5, 6, "3", 7, 8, 11],
        ["0", 12, "4", "4", 13, "1"],
    )


def image_tokens(config, params, pixels):
    tokens = encode_images(config, params, pixels)
    return tokens.reshape(-1, tokens.shape[-1])


def any_image_tokens(config):
    """Stand-ins for the tokens of six images."""
    shape = (6 * config.tokens_per_image, config.decoder.width)
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def read_at_once(config, params, text: Text, images):
    """Hidden states by `forward`: the whole of every row, causal."""
    b, length = text.tokens.shape
    positions = np.broadcast_to(np.arange(length), (b, length))
    causal = np.broadcast_to(np.tri(length, dtype=bool), (b, length, length))
    return forward(
        config, params, text.tokens, text.slots, images, positions, causal
    )


def read_in_parts(config, params, text: Text, images, parts, cache=None):
    """Hidden states by `extend`; parts[i][b] tokens of row b in call i."""
    b, length = text.tokens.shape
    if cache is None:
        cache = caches.init_cache(config, b, CAPACITY)
    hidden = np.zeros((b, length, config.decoder.width), np.float32)
    done = np.zeros(b, int)
    for new in parts:
        width = max(new)
        tokens = np.full((b, width), 7, np.int32)
        slots = np.full((b, width), -1, np.int32)
        for row, n in enumerate(new):
            piece = slice(done[row], done[row] + n)
            tokens[row, :n] = text.tokens[row, piece]
            slots[row, :n] = text.slots[row, piece]
        out, cache = extend(
            config, params, cache, tokens, np.array(new), slots, images
        )
        for row, n in enumerate(new):
            hidden[row, done[row] : done[row] + n] = out[row, :n]
        done += new
    return hidden, cache


def assert_rows_close(text: Text, found, expected, **tolerance):
    """Compares what is real of each row."""
    for row, n in enumerate(text.lengths):
        np.testing.assert_allclose(
            found[row, :n], expected[row, :n], **(tolerance or CLOSE)
        )


# Reading with a cache ---------------------------------------------------------

SPLITS = {
    "whole": [(5, 9, 18)],
    "two chunks": [(3, 4, 9), (2, 5, 9)],
    "rows that wait": [(4, 0, 2), (0, 9, 7), (1, 0, 9)],
    "token by token": [(t < 5, t < 9, 1) for t in range(18)],
}


@pytest.mark.parametrize("split", SPLITS)
def test_extend_in_any_split_equals_forward(config, params, split):
    text = ragged_text(config)
    images = any_image_tokens(config)
    parts = [tuple(map(int, new)) for new in SPLITS[split]]
    found, cache = read_in_parts(config, params, text, images, parts)
    expected = read_at_once(config, params, text, images)
    assert cache.length.tolist() == text.lengths.tolist()
    assert_rows_close(text, found, expected)


@pytest.mark.parametrize(
    "fields",
    [
        {"kv_heads": 2},
        {"kv_heads": 1, "qk_norm": True},
        {"norm": "layernorm", "norm_eps": 1e-5},
        {"gated": False, "activation": "gelu"},
        {"qkv_bias": True, "out_bias": True, "mlp_bias": True},
        {"tie_embeddings": False, "rope": None},
    ],
    ids=str,
)
def test_variants_read_with_a_cache_as_without(variant, fields):
    config, params = variant(**fields)
    text = ragged_text(config)
    images = any_image_tokens(config)
    found, _ = read_in_parts(config, params, text, images, SPLITS["two chunks"])
    expected = read_at_once(config, params, text, images)
    assert_rows_close(text, found, expected)


def test_every_parameter_of_a_full_variant_moves_the_logits(variant, pixels):
    config, params = variant(
        kv_heads=2,
        norm="layernorm",
        qkv_bias=True,
        out_bias=True,
        mlp_bias=True,
        qk_norm=True,
        tie_embeddings=False,
    )
    text = ragged_text(config)

    @jax.jit
    @jax.grad
    def gradient(params):
        images = image_tokens(config, params, pixels)
        hidden = read_at_once(config, params, text, images)
        return jnp.sum(vlm.unembed(config, params, hidden) ** 2)

    flat, _ = jax.tree_util.tree_flatten_with_path(gradient(params))
    idle = [jax.tree_util.keystr(p) for p, g in flat if not np.any(g)]
    assert idle == []


def test_bfloat16_stays_near_float32(config, params, variant, pixels):
    text = ragged_text(config)
    images = image_tokens(config, params, pixels)
    exact = np.asarray(read_at_once(config, params, text, images))
    half, _ = variant(dtype="bfloat16")
    images = image_tokens(half, params, pixels)
    found, cache = read_in_parts(
        half, params, text, images, SPLITS["two chunks"]
    )
    assert images.dtype == jnp.bfloat16
    assert cache.layers[0][0].dtype == jnp.bfloat16
    assert vlm.unembed(half, params, found).dtype == jnp.float32
    for row, n in enumerate(text.lengths):
        error = np.linalg.norm(found[row, :n] - exact[row, :n])
        share = error / np.linalg.norm(exact[row, :n])
        assert 1e-5 < share < 0.03


def test_rollback_then_other_words_equals_a_fresh_read(config, params):
    images = any_image_tokens(config)
    first = lay_out(config, [5, "1", 6, 7, 8], [5, 6, 7, 8, 10, 11])
    second = lay_out(config, [5, "1", 13], [5, 6, "2", 9])
    _, cache = read_in_parts(config, params, first, images, [(8, 6)])
    cache = caches.rollback(cache, np.array([5, 2]))
    assert cache.length.tolist() == [5, 2]
    rest = Text(
        np.stack([np.r_[second.tokens[0, 5:6], [0] * 4], second.tokens[1, 2:]]),
        np.stack([[-1] * 5, second.slots[1, 2:]]),
        np.array([1, 5]),
    )
    found, cache = read_in_parts(config, params, rest, images, [(1, 5)], cache)
    expected = np.asarray(read_at_once(config, params, second, images))
    np.testing.assert_allclose(found[0, :1], expected[0, 5:6], **CLOSE)
    np.testing.assert_allclose(found[1, :5], expected[1, 2:7], **CLOSE)


def test_rollback_beyond_what_is_held_keeps_all(config):
    cache = caches.init_cache(config, 2, CAPACITY)
    cache = dataclasses.replace(cache, length=jnp.array([3, 7]))
    assert caches.rollback(cache, 5).length.tolist() == [3, 5]


def test_a_row_that_outgrows_its_capacity_keeps_its_first_tokens(
    config, params
):
    images = any_image_tokens(config)
    text = lay_out(config, [5, 6, 7, 8, 10, 11], [5, 6])
    cache = caches.init_cache(config, 2, 4)
    _, cache = read_in_parts(config, params, text, images, [(6, 2)], cache)
    cache = caches.rollback(cache, np.array([3, 3]))
    word = lay_out(config, [8], [7])
    found, _ = read_in_parts(config, params, word, images, [(1, 1)], cache)
    fresh = lay_out(config, [5, 6, 7, 8], [5, 6, 7])
    expected = np.asarray(read_at_once(config, params, fresh, images))
    np.testing.assert_allclose(found[0, 0], expected[0, 3], **CLOSE)
    np.testing.assert_allclose(found[1, 0], expected[1, 2], **CLOSE)


def test_a_row_does_not_depend_on_its_neighbours(config, params):
    images = any_image_tokens(config)
    row = [5, "3", 6, 7]
    here = lay_out(config, row, [8, 9, 10, 11, 12], ["0", "1"])
    there = lay_out(config, ["2", 5], [13, 13, 13, 6, 6, 6, 5, 5], row)
    found, _ = read_in_parts(config, params, here, images, [(7, 5, 8)])
    other, _ = read_in_parts(config, params, there, images, [(5, 8, 7)])
    np.testing.assert_allclose(found[0, :7], other[2, :7], **CLOSE)


# Images -----------------------------------------------------------------------


def test_an_image_is_seen_from_its_place_on_and_in_its_row_alone(
    config, params, pixels
):
    text = lay_out(config, [5, 6, 7, 8, 10, 11, 12], [5, 6, "3", 7])
    before = np.asarray(
        read_at_once(config, params, text, image_tokens(config, params, pixels))
    )
    changed = pixels.copy()
    changed[3] = 255 - changed[3]
    after = np.asarray(
        read_at_once(
            config, params, text, image_tokens(config, params, changed)
        )
    )
    np.testing.assert_array_equal(before[0], after[0])
    np.testing.assert_array_equal(before[1, :2], after[1, :2])
    moved = np.abs(before[1, 2:] - after[1, 2:]).max(axis=-1)
    assert moved.min() > 1e-4


def test_swapping_slots_is_swapping_pixels(config, params, pixels):
    text = lay_out(config, ["0", 5, "1", 6])
    swapped = lay_out(config, ["1", 5, "0", 6])
    images = image_tokens(config, params, pixels)
    others = image_tokens(config, params, pixels[[1, 0, 2, 3, 4, 5]])
    found = read_at_once(config, params, text, others)
    expected = read_at_once(config, params, swapped, images)
    assert_rows_close(text, found, expected)
    as_it_was = read_at_once(config, params, text, images)
    assert np.abs(found - as_it_was).max() > 1e-2


def test_patches_of_a_square_follow_one_another(config):
    """Each patch is painted with its own row and column; 4 x 4 of them."""
    vision = dataclasses.replace(
        config.vision, image_size=4 * config.vision.patch_size
    )
    grid = np.arange(16).reshape(4, 4)
    painted = np.kron(grid, np.ones((vision.patch_size,) * 2))
    image = np.repeat(painted[..., None], 3, -1).astype(np.uint8)
    patches = square_patches(vision, 2, image[None])
    back = patches.pixels[0, :, 0] * vision.std[0] + vision.mean[0]
    order = np.rint(np.asarray(back * 255)).astype(int).tolist()
    assert order[:8] == [0, 1, 4, 5, 2, 3, 6, 7]
    assert [grid[tuple(p)] for p in np.asarray(patches.places[0])] == order
    assert patches.rows[0, :, 0].tolist() == order


def test_connector_folds_squares_of_patches(config):
    """Token k is made of patches 4 k to 4 k + 3 alone."""
    connector = Connector(config.connector, 32, jnp.float32)
    patches = jax.random.normal(jax.random.key(0), (1, 16, 16))
    tokens, variables = connector.init_with_output(jax.random.key(1), patches)
    for k in range(4):
        changed = patches.at[:, 4 * k : 4 * k + 4].add(1.0)
        moved = connector.apply(variables, changed) != tokens
        assert np.any(moved[0], axis=-1).nonzero()[0].tolist() == [k]


# Layers -----------------------------------------------------------------------


def test_grouped_query_attention_is_attention_with_repeated_keys():
    rng = np.random.default_rng(0)
    q = rng.normal(size=(2, 3, 6, 4))
    k, v = rng.normal(size=(2, 2, 5, 2, 4))
    mask = rng.random((2, 3, 5)) < 0.6
    mask[..., 0] = True
    expected = np.zeros_like(q)
    for b, i, h in np.ndindex(2, 3, 6):
        group = h // 3  # heads 0-2 share key head 0, heads 3-5 key head 1
        scores = k[b, :, group] @ q[b, i, h] / np.sqrt(4)
        weights = np.where(mask[b, i], np.exp(scores), 0.0)
        expected[b, i, h] = weights / weights.sum() @ v[b, :, group]
    k, v = k.transpose(0, 2, 3, 1), v.transpose(0, 2, 1, 3)
    whole = [(k, v, mask)]
    halves = [
        (k[..., part], v[:, :, part], mask[..., part])
        for part in (slice(2), slice(2, None))
    ]
    for parts in (whole, halves):
        found = attend(jnp.asarray(q), jax.tree.map(jnp.asarray, parts))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_attention_with_nothing_to_see_is_finite():
    queries = jnp.ones((1, 2, 1, 4))
    keys, values = jnp.ones((1, 1, 4, 2)), jnp.ones((1, 1, 2, 4))
    nothing = jnp.zeros((1, 2, 2), bool)
    found = attend(queries, [(keys, values, nothing)])
    assert np.isfinite(found).all()


def test_rotary_scores_depend_on_distance_alone():
    q, k = np.random.default_rng(0).normal(size=(2, 1, 1, 1, 8))

    def score(i, j):
        turned = [
            rotary(
                jnp.asarray(x),
                turn_by(jnp.array([[[at]]]), RopeConfig(100.0), 4),
            )
            for x, at in ((q, i), (k, j))
        ]
        return float(jnp.sum(turned[0] * turned[1]))

    assert score(9, 4) == pytest.approx(score(25, 20), abs=1e-4)
    assert abs(score(9, 4) - score(9, 6)) > 1e-2


def test_norms_are_the_formulas():
    x = np.random.default_rng(0).normal(2.0, 3.0, (4, 16)).astype(np.float32)
    found = make_norm("rmsnorm", 1e-6, "n").init_with_output(
        jax.random.key(0), x
    )[0]
    expected = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    found = make_norm("layernorm", 1e-6, "n").init_with_output(
        jax.random.key(0), x
    )[0]
    spread = x.std(-1, keepdims=True)
    expected = (x - x.mean(-1, keepdims=True)) / spread
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_an_unknown_norm_is_named_in_the_error():
    with pytest.raises(ValueError, match="norm='batch'.*'rmsnorm'"):
        make_norm("batch", 1e-6, "n")


def test_heads_that_do_not_share_keys_evenly_are_an_error():
    with pytest.raises(ValueError, match="heads=4 is no multiple of kv_h"):
        TransformerConfig(
            width=8, depth=1, heads=4, kv_heads=3, head_dim=2, mlp_width=8
        )


# Configs, checkpoints, meshes -------------------------------------------------


def test_config_survives_json(variant):
    config, _ = variant(norm="layernorm", rope=None)
    fields = json.loads(json.dumps(config.to_dict()))
    assert VLMConfig.from_dict(fields) == config


def test_an_unknown_config_field_is_named_in_the_error(config):
    fields = config.to_dict()
    fields["decoder"]["wdith"] = 3
    with pytest.raises(TypeError, match="wdith"):
        VLMConfig.from_dict(fields)


def test_a_saved_model_loads_as_it_was(tmp_path, variant):
    config, params = variant(qkv_bias=True, tie_embeddings=False)
    save_model(tmp_path / "model", config, params)
    loaded_config, loaded = load_model(tmp_path / "model")
    assert loaded_config == config
    assert jax.tree.structure(loaded) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, loaded, params)


def test_arrays_that_lie_column_by_column_are_saved_as_they_read(
    tmp_path, config, params
):
    columns = jax.tree.map(lambda x: np.asfortranarray(x), params)
    save_model(tmp_path, config, columns)
    jax.tree.map(np.testing.assert_array_equal, load_model(tmp_path)[1], params)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda flat: flat.pop("decoder.norm.scale"),
            r"missing decoder\.norm\.scale \(32,\)",
        ),
        (
            lambda flat: flat.update({"head.kernel": np.zeros((2, 3))}),
            r"surplus head\.kernel \(2, 3\)",
        ),
        (
            lambda flat: flat.update({"decoder.norm.scale": np.zeros(31)}),
            r"decoder\.norm\.scale has shape \(31,\), expected \(32,\)",
        ),
    ],
    ids=["missing", "surplus", "misshaped"],
)
def test_weights_of_another_model_are_an_error_that_names_them(
    tmp_path, config, params, change, message
):
    save_model(tmp_path, config, params)
    path = tmp_path / "model.safetensors"
    flat = safetensors.numpy.load_file(path)
    change(flat)
    safetensors.numpy.save_file(flat, path)
    with pytest.raises(ValueError, match=message):
        load_model(tmp_path)


def test_a_folder_without_a_model_says_which_file_it_lacks(tmp_path):
    with pytest.raises(FileNotFoundError, match="has no config.json"):
        load_model(tmp_path)
