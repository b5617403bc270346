"""Panels of matrices: what is computed with them, and who has them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlm_games.models import panels, vlm
from vlm_games.models.mesh import make_mesh, place
from vlm_games.sampling import engine as engines
from vlm_games.sampling.engine import Engine
from vlm_games.training import lora

pytestmark = pytest.mark.usefixtures("quick_compiles")

WHOLE = lora.LoraConfig(rank=2, alpha=4.0, parts=lora.PARTS)
COLUMNS = 2 * panels.STEP  # that are two panels


def next_logits(config, params, rows, pixels=None):
    """Of `rows` rows that read a token each, every map of them few or not."""
    tokens = 5 + jnp.arange(rows)[:, None] % 8
    hidden = vlm.forward(
        config,
        params,
        tokens,
        jnp.full(tokens.shape, -1),
        vlm.no_image_tokens(config),
        jnp.full(tokens.shape, 3),
        jnp.ones((rows, 1, 1), bool),
    )
    return vlm.unembed(config, params, hidden)


NEXT = jax.jit(next_logits, static_argnums=(0, 2))


@pytest.fixture(scope="module", params=["plain", "biased", "adapted"])
def made(request, variant):
    """(config, params): of plain maps, of biased ones, and with LoRA."""
    biased = request.param == "biased"
    config, params = variant(
        tie_embeddings=False, qkv_bias=biased, out_bias=biased, mlp_bias=biased
    )
    if biased:  # fresh ones are 0
        params = jax.tree.map(lambda x: x + 0.1 * (x.ndim == 1), params)
    if request.param == "adapted":
        fresh = lora.init(WHOLE, params, jax.random.key(0))
        felt = jax.tree.map(lambda x: jnp.full_like(x, 0.1), fresh)
        params = lora.attach(WHOLE, params, felt)
    return config, params


def test_few_rows_compute_the_same_with_panels(made):
    config, params = made
    found = panels.cut(params)
    maps = {path[-2] for path in found}
    assert maps >= {"query", "key", "value", "out", "up", "gate", "down"}
    # Nothing of the kernels is left: what is computed comes of the panels.
    none = jax.tree.map(jnp.zeros_like, panels.cut(params))
    whole = NEXT(config, params, 8)
    np.testing.assert_allclose(
        NEXT(config, panels.put(params, found), 8), whole, 1e-4, 1e-5
    )
    without = NEXT(config, panels.put(params, none), 8)
    assert np.abs(without - whole).max() > 0.1


def test_more_rows_do_not_use_panels(made):
    config, params = made
    none = jax.tree.map(jnp.zeros_like, panels.cut(params))
    rows = panels.ROWS + 1
    np.testing.assert_array_equal(
        NEXT(config, panels.put(params, none), rows),
        NEXT(config, params, rows),
    )


def test_a_matrix_that_does_not_split_stays_alone():
    kernels = {
        "splits": jnp.ones((3, COLUMNS)),
        "narrow": jnp.ones((3, COLUMNS - 1)),
        "odd": jnp.ones((3, COLUMNS + 1)),
    }
    params = {"decoder": {k: {"kernel": x} for k, x in kernels.items()}}
    assert {path[1] for path in panels.cut(params)} == {"splits"}


def test_panels_are_columns_side_by_side():
    kernel = np.arange(3.0 * COLUMNS).reshape(3, COLUMNS)
    params = {"head": {"kernel": jnp.asarray(kernel)}}
    (found,) = panels.cut(params).values()
    np.testing.assert_array_equal(np.concatenate(found, axis=1), kernel)


def test_few_rows_of_a_cpu_are_laid_out_and_others_are_not(
    variant, monkeypatch
):
    config, params = variant()

    def laid_out(config, rows, **split):
        mesh = make_mesh(jax.devices()[:2], **split)
        there = place(mesh, params)
        found = Engine(config, mesh).lay_out(there, rows)
        return jax.tree.structure(found) != jax.tree.structure(there)

    few = 2 * panels.ROWS
    assert laid_out(config, few)
    assert not laid_out(config, few + 2)
    assert not laid_out(config, few, tensor=2)
    assert not laid_out(variant("bfloat16")[0], few)
    monkeypatch.setattr(engines, "MOST_CUT", 100)
    assert not laid_out(config, few)
