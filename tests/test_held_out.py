"""Which images are held out: every fifth, and no episode on both sides."""

import numpy as np
import pytest

from vlm_games.data.held_out import split
from vlm_games.data.images import Groups, units_of


@pytest.mark.parametrize(
    ("count", "held"),
    [(10, [0, 5]), (11, [0, 5, 10]), (8, [0, 4]), (6, [0, 3]), (4, [0, 2])],
)
def test_every_fifth_image_is_held_out_or_a_games_worth(count, held):
    others, found = split(Groups.unknown(count).units, 2)
    assert found.tolist() == held
    assert sorted([*others, *found]) == list(range(count))


def test_no_episode_is_on_both_sides():
    episodes = np.repeat(np.arange(13), [3, 1, 7, 2, 4, 5, 2, 9, 1, 3, 6, 2, 8])
    units = units_of(episodes, np.full(53, -1))
    others, held = split(np.random.default_rng(0).permutation(units), 4)
    mixed = np.random.default_rng(0).permutation(units)
    assert set(mixed[held].tolist()) == {0, 5, 10}
    assert not set(mixed[held].tolist()) & set(mixed[others].tolist())
    assert len(held) + len(others) == 53


@pytest.mark.parametrize(
    "sizes",
    [[10, 10, 10, 10], [1, 10, 10, 10, 10], [40, 1, 1, 1, 1]],
    ids=["few episodes", "too few held out", "too few to play on"],
)
def test_where_episodes_do_not_suffice_images_are_held_out(sizes):
    units = np.repeat(np.arange(len(sizes)), sizes)
    _, held = split(units, 5)
    assert held.tolist() == list(range(0, sum(sizes), 5))


def test_an_image_belongs_to_its_episode_else_its_cluster_else_to_itself():
    episodes = np.array([0, 0, -1, -1, -1, -1, 1])
    clusters = np.array([0, 1, 0, 0, -1, -1, 0])
    assert units_of(episodes, clusters).tolist() == [0, 0, 1, 1, 2, 3, 4]
