"""Checkpoints in int8: small, and next to as good."""

import jax
import numpy as np
import pytest
import safetensors.numpy

from vlm_games.models.checkpoint import load_model, save_model


def test_levels_are_a_quarter_of_the_bytes_and_next_to_as_good(
    tmp_path, config, params
):
    for dtype in ("float32", "int8"):
        save_model(tmp_path / dtype, config, params, dtype)
    sizes = [
        (tmp_path / dtype / "model.safetensors").stat().st_size
        for dtype in ("int8", "float32")
    ]
    assert sizes[0] < 0.5 * sizes[1]  # the model is tiny, the header is not
    _, loaded = load_model(tmp_path / "int8")
    for x, y in zip(
        jax.tree.leaves(loaded), jax.tree.leaves(params), strict=True
    ):
        assert x.dtype == np.float32
        step = np.abs(y).max() / 127 if y.ndim > 1 else 0
        np.testing.assert_allclose(x, y, rtol=0, atol=0.51 * step)


def test_levels_without_their_step_are_told(tmp_path, config, params):
    save_model(tmp_path, config, params, "int8")
    path = tmp_path / "model.safetensors"
    flat = safetensors.numpy.load_file(path)
    del flat["embed.embedding:step"]
    safetensors.numpy.save_file(flat, path)
    with pytest.raises(ValueError, match="embed.embedding is int8"):
        load_model(tmp_path)
