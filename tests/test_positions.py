"""Rotary positions of several axes: counted on the device as by the reader."""

import types

import jax.numpy as jnp
import numpy as np
import pytest

from vlm_games.hub.reading import count_positions
from vlm_games.models import vlm
from vlm_games.models.config import RopeConfig

pytestmark = pytest.mark.usefixtures("quick_compiles")

SIDE = 2  # image tokens along an image of `config`


@pytest.fixture(scope="module")
def config(variant):
    config, _ = variant(rope=RopeConfig(sections=(2, 1, 1)))
    assert config.tokens_per_image == SIDE**2
    return config


def laid_out(*lengths):
    """bool [L]: stretches of text, with an image between each two."""
    here = []
    for i, length in enumerate(lengths):
        here += [True] * (SIDE**2 if i else 0) + [False] * length
    return np.array(here)


def from_reader(config, here):
    square = types.SimpleNamespace(grid=(SIDE, SIDE))
    return count_positions(config, here, [square] * here.sum())


def on_device(config, here, start=0):
    slots = np.where(here, 0, -1)[None]
    seen, counts = np.cumsum(here)[None], np.arange(len(here))[None] + start
    found = vlm.rope_positions(
        config, jnp.asarray(counts), jnp.asarray(slots), jnp.asarray(seen)
    )
    return np.asarray(found[0])


@pytest.mark.parametrize(
    "lengths", [(5,), (3, 4), (1, 0, 2), (0, 1), (2, 0, 0, 5)]
)
def test_images_take_as_many_positions_as_their_side(config, lengths):
    here = laid_out(*lengths)
    expected = from_reader(config, here)
    np.testing.assert_array_equal(on_device(config, here), expected)


def test_a_further_turn_counts_on(config):
    here = laid_out(3, 2, 4)
    expected = from_reader(config, here)
    cut = 3 + SIDE**2 + 1  # after the first image and a word
    start = expected[:cut].max() + 1
    found = on_device(config, here[cut:], start)
    np.testing.assert_array_equal(found, expected[cut:])


def test_branches_see_the_images_of_their_trunk(config):
    """Trunk of a word and an image, two branches: both count on from there."""
    here = np.concatenate([laid_out(1, 0), [False] * 5])
    branches = np.array([0] * 5 + [1, 1, 1, 2, 2])
    causal = np.tril(np.ones((10, 10), bool))
    sees = causal & ((branches == 0) | (branches[:, None] == branches))
    counts = sees.sum(axis=-1) - 1
    seen = (sees & here).sum(axis=-1)
    found = vlm.rope_positions(
        config,
        jnp.asarray(counts[None]),
        jnp.asarray(np.where(here, 0, -1)[None]),
        jnp.asarray(seen[None]),
    )[0]
    after = 1 + SIDE
    expected = [after, after + 1, after + 2, after, after + 1]
    assert np.asarray(found[5:]).tolist() == [[p] * 3 for p in expected]
