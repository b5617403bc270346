"""Nearest neighbours: exact by definition, and on the device as well."""

import sys

import numpy as np
import pytest
from test_image_sets import brute_force

from vlm_games.games import neighbours
from vlm_games.games.neighbours import nearest_images


def test_nearest_images_agree_with_brute_force_whatever_the_blocks(
    monkeypatch,
):
    rng = np.random.default_rng(2)
    embeddings = rng.normal(size=(101, 6)).astype(np.float32)
    embeddings *= rng.uniform(0.1, 10, (101, 1)).astype(np.float32)
    expected = [brute_force(i, embeddings, 7, 0.9) for i in range(101)]
    for block in (2048, 101, 100, 13, 1):
        monkeypatch.setattr(neighbours, "_BLOCK", block)
        found = nearest_images(
            np.arange(101), embeddings, 7, near_duplicate=0.9
        )
        assert found.tolist() == expected


def test_nearest_images_break_ties_by_the_lower_index(monkeypatch):
    # Opposite, then across on either side: cosines -1, 0, 0, 0, 0.
    cross = np.array([[1, 0], [-1, 0], [0, 1], [0, -1], [0, 2], [0, -2]])
    for block in (2048, 4, 1):
        monkeypatch.setattr(neighbours, "_BLOCK", block)
        found = nearest_images(np.array([0]), cross, 6)
        assert found.tolist() == [[2, 3, 4, 5, 1, -1]]


def test_copies_of_a_neighbour_do_not_fill_the_pool():
    angle = np.deg2rad([0, *[10] * 20, 20, 30])
    embeddings = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    groups = np.array([0, *[1] * 20, 2, 3])
    found = nearest_images(np.array([0]), embeddings, 3, groups=groups)
    assert found.tolist() == [[1, 21, 22]]


@pytest.fixture
def on_device(monkeypatch):
    """Makes even small searches use the device, and counts what is left."""
    left = []
    definition = neighbours._by_definition

    def counted(anchors, *wanted):
        left.append(len(anchors))
        return definition(anchors, *wanted)

    monkeypatch.setattr(neighbours, "_SMALL", 0)
    monkeypatch.setattr(neighbours, "_RUN", 4)
    monkeypatch.setattr(neighbours, "_SPARE", 4)
    monkeypatch.setattr(neighbours, "_by_definition", counted)
    return left


def scattered(count: int, width: int = 8) -> np.ndarray:
    rng = np.random.default_rng(3)
    return rng.normal(size=(count, width)).astype(np.float32)


def test_the_device_finds_what_the_definition_finds(on_device):
    embeddings = scattered(301)
    embeddings[7] = 3 * embeddings[200]  # copies, and near ones
    embeddings[9] = embeddings[201] + 1e-4
    groups = np.arange(301)
    groups[250:] = groups[:51]
    found = nearest_images(
        np.arange(301), embeddings, 5, near_duplicate=0.99, groups=groups
    )
    assert sum(on_device) < 30  # nearly all is proven
    wanted = (embeddings, groups, groups == np.arange(301), 990_000_000, 5)
    expected = neighbours._by_definition(np.arange(301), *wanted)
    np.testing.assert_array_equal(found, expected)


def test_neighbours_too_close_for_float32_are_told_apart(on_device):
    """Two hundred images whose cosines with the first differ by 5e-9 each."""
    angle = 0.5 + 1e-8 * np.random.default_rng(4).permutation(200)
    around = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    embeddings = np.concatenate([[[1.0, 0.0]], around])
    found = nearest_images(np.array([0]), embeddings, 5)
    assert found.tolist() == [(1 + np.argsort(angle)[:5]).tolist()]
    assert on_device == [1]  # float32 cannot prove it


def test_the_device_says_where_there_are_no_more(on_device):
    embeddings = scattered(64)
    groups = np.minimum(np.arange(64), 3)  # four different images
    found = nearest_images(np.arange(2), embeddings, 5, groups=groups)
    assert (found >= 0).sum(axis=1).tolist() == [3, 3]
    assert on_device == [0]


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_an_embedding_without_a_direction_is_named(on_device, bad):
    embeddings = scattered(100)
    embeddings[42] = bad
    with pytest.raises(ValueError, match="embedding of image 42"):
        nearest_images(np.arange(3), embeddings, 5)


def test_an_index_finds_nearly_what_the_exact_search_finds():
    pytest.importorskip("faiss")
    embeddings = scattered(1500)
    groups = np.arange(1500)
    groups[1400:] = groups[:100]
    wanted = dict(near_duplicate=0.99, groups=groups)
    exact = nearest_images(np.arange(200), embeddings, 5, **wanted)
    found = nearest_images(
        np.arange(200), embeddings, 5, search="faiss", **wanted
    )
    hits = [
        len(set(a) & set(b))
        for a, b in zip(exact.tolist(), found.tolist(), strict=True)
    ]
    assert 0.8 < np.mean(hits) / 5
    assert not (groups[found] == groups[:200, None]).any()


def test_without_faiss_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ValueError, match=r"vlm_games\[faiss\]"):
        nearest_images(np.arange(3), scattered(9), 2, search="faiss")
