"""Image sets: distinct, hard as asked, fair, and the same when made again."""

import numpy as np
import pytest

from vlm_games.games.image_sets import KINDS, draw_set, draw_sets

TOTAL = 60


def circle(total: int = TOTAL) -> np.ndarray:
    """[n, 2] on a circle at uneven steps: neighbours in order of index."""
    steps = np.random.default_rng(0).uniform(0.8, 1.2, total)
    angle = 2 * np.pi * np.cumsum(steps) / steps.sum()
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def options(kind: str, **changes) -> dict:
    """A request that can be met, of any kind."""
    request = dict(kind=kind, size=4, seed=3, iteration=1, total=TOTAL)
    request |= dict(embeddings=circle(), near_duplicate=1.0)
    request |= dict(clusters=np.arange(TOTAL) % 5, frames=np.arange(TOTAL) // 9)
    request |= dict(tasks=np.arange(TOTAL) % 3)
    return request | changes


def brute_force(anchor, embeddings, pool, near_duplicate) -> list[int]:
    """The nearest by definition, one pair at a time."""
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    cosines = [float(unit[anchor] @ row) for row in unit]
    allowed = [
        i
        for i, cosine in enumerate(cosines)
        if i != anchor and cosine <= near_duplicate
    ]
    return sorted(allowed, key=lambda i: -cosines[i])[:pool]


def shows(text: str, **request) -> None:
    with pytest.raises(ValueError, match=text):
        draw_sets(count=1, **request)


@pytest.mark.parametrize("kind", KINDS)
def test_a_set_has_distinct_images_of_the_source_and_a_target(kind):
    for drawn in draw_sets(count=200, **options(kind)):
        assert len(set(drawn.images)) == 4
        assert all(0 <= image < TOTAL for image in drawn.images)
        assert 0 <= drawn.target < 4
        assert {type(i) for i in (*drawn.images, drawn.target)} == {int}


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_request_gives_the_same_sets(kind):
    sets = draw_sets(count=20, **options(kind))
    assert sets == draw_sets(count=20, **options(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_one_game_can_be_made_again_by_itself_in_any_order(kind):
    sets = draw_sets(count=20, **options(kind))
    again = {
        game: draw_set(game, **options(kind)) for game in range(19, -1, -1)
    }
    assert sets == [again[game] for game in range(20)]
    assert sets[5:] == draw_sets(count=15, first=5, **options(kind))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("change", [{"seed": 4}, {"iteration": 2}])
def test_another_seed_or_iteration_gives_other_sets(kind, change):
    sets = draw_sets(count=20, **options(kind))
    others = draw_sets(count=20, **options(kind, **change))
    assert sum(a == b for a, b in zip(sets, others, strict=True)) < 5


def test_seed_and_iteration_do_not_stand_in_for_each_other():
    sets = draw_sets(count=20, **options("random", seed=1, iteration=2))
    others = draw_sets(count=20, **options("random", seed=2, iteration=1))
    assert sets != others


@pytest.mark.parametrize("kind", KINDS)
def test_the_targets_position_is_uniform(kind):
    sets = draw_sets(count=4000, **options(kind))
    counts = np.bincount([s.target for s in sets], minlength=4)
    # 3 degrees of freedom: a fair draw is above 16.3 once in a thousand.
    assert ((counts - 1000) ** 2 / 1000).sum() < 16.3


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_images_says_nothing_of_the_target(kind):
    sets = draw_sets(count=4000, **options(kind))
    ranks = [sorted(s.images).index(s.images[0]) for s in sets]
    counts = np.bincount(ranks, minlength=4)
    assert ((counts - 1000) ** 2 / 1000).sum() < 16.3


def test_random_takes_every_image_equally_often():
    sets = draw_sets(count=6000, **options("random"))
    counts = np.bincount(np.ravel([s.images for s in sets]), minlength=TOTAL)
    # 59 degrees of freedom: above 98.3 once in a thousand.
    assert ((counts - 400) ** 2 / 400).sum() < 98.3


def test_random_can_take_the_whole_source():
    drawn = draw_set(0, **options("random", size=TOTAL))
    assert sorted(drawn.images) == list(range(TOTAL))


def test_random_never_shows_two_copies_of_an_image():
    groups = np.array([0] * 50 + list(range(1, 11)))
    request = options("random", duplicates=groups)
    for drawn in draw_sets(count=300, **request):
        assert len(set(groups[list(drawn.images)])) == 4


def test_random_takes_each_copy_as_target_equally_often():
    groups = np.array([0] * 30 + list(range(1, 31)))
    sets = draw_sets(count=6000, **options("random", duplicates=groups))
    targets = [s.images[s.target] for s in sets]
    counts = np.bincount(targets, minlength=TOTAL)
    assert ((counts - 100) ** 2 / 100).sum() < 98.3


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "random"])
def test_no_kind_shows_two_copies_of_an_image(kind):
    groups = np.arange(TOTAL) // 2
    groups[:36] = np.arange(36)
    for drawn in draw_sets(count=300, **options(kind, duplicates=groups)):
        assert len(set(groups[list(drawn.images)])) == 4


def test_similar_draws_among_the_pool_nearest_of_the_target():
    seen = set()
    for drawn in draw_sets(count=300, **options("similar", pool=5)):
        target = drawn.images[drawn.target]
        near = brute_force(target, circle(), 5, 1.0)
        distractors = set(drawn.images) - {target}
        assert distractors <= set(near)
        seen |= {near.index(image) for image in distractors}
    assert seen == set(range(5))


def test_similar_draws_among_three_times_the_distractors_by_default():
    sets = draw_sets(count=300, **options("similar"))
    assert sets == draw_sets(count=300, **options("similar", pool=9))
    assert sets != draw_sets(count=300, **options("similar", pool=8))


def test_similar_leaves_near_duplicates_of_the_target_out():
    unit = circle()
    # 6 degrees apart: the nearest on either side has a cosine of 0.9945.
    limit = np.cos(np.deg2rad(9))
    request = options("similar", near_duplicate=limit)
    for drawn in draw_sets(count=300, **request):
        cosines = unit[list(drawn.images)] @ unit[drawn.images[drawn.target]]
        assert np.delete(cosines, drawn.target).max() <= limit


def test_similar_leaves_copies_out_by_default():
    embeddings = np.repeat(np.random.default_rng(1).normal(size=(30, 8)), 2, 0)
    request = options("similar", embeddings=embeddings)
    del request["near_duplicate"]
    for drawn in draw_sets(count=300, **request):
        twin = drawn.images[drawn.target] ^ 1
        assert twin not in drawn.images


def test_a_cluster_set_stays_in_one_cluster_and_all_are_played():
    labels = np.arange(TOTAL) % 5
    sets = draw_sets(count=200, **options("clusters", clusters=labels))
    met = [set(labels[list(s.images)]) for s in sets]
    assert all(len(one) == 1 for one in met)
    assert set.union(*met) == set(range(5))


def test_small_clusters_and_unlabelled_images_are_skipped():
    labels = np.array([0] * 3 + [1] * 4 + [2] * 5 + [-1] * (TOTAL - 12))
    sets = draw_sets(count=200, **options("clusters", clusters=labels))
    played = {image for s in sets for image in s.images}
    assert played == set(range(3, 12))


def test_a_frame_set_is_consecutive_within_one_episode():
    episodes = np.arange(TOTAL) // 9
    for drawn in draw_sets(count=300, **options("frames")):
        images = np.sort(drawn.images)
        assert np.diff(images).tolist() == [1, 1, 1]
        assert len(set(episodes[images])) == 1


def test_the_target_is_any_frame_of_its_set_equally_often():
    sets = draw_sets(count=4000, **options("frames"))
    places = [s.images[s.target] - min(s.images) for s in sets]
    counts = np.bincount(places, minlength=4)
    assert ((counts - 1000) ** 2 / 1000).sum() < 16.3


def test_short_episodes_are_skipped_and_an_interrupted_one_is_not_joined():
    #          no        no        yes       no (none)
    episodes = [7] * 3 + [8] * 3 + [7] * 4 + [-1] * (TOTAL - 10)
    request = options("frames", frames=np.array(episodes))
    for drawn in draw_sets(count=50, **request):
        assert sorted(drawn.images) == [6, 7, 8, 9]


def test_frames_follow_each_other_by_their_steps():
    """Two episodes, their frames shuffled: 0 5 1 6 2 7 ... backwards."""
    episodes, steps = np.arange(TOTAL) % 2, -np.arange(TOTAL)
    request = options("frames", frames=episodes, steps=steps)
    for drawn in draw_sets(count=100, **request):
        assert np.diff(np.sort(drawn.images)).tolist() == [2, 2, 2]


def test_a_task_set_has_images_of_one_task_and_of_several_episodes():
    sets = draw_sets(count=100, **options("task"))
    assert all(len({i % 3 for i in s.images}) == 1 for s in sets)
    assert any(len({i // 9 for i in s.images}) > 1 for s in sets)


def test_no_games_are_no_sets():
    for kind in KINDS:
        assert draw_sets(count=0, **options(kind)) == []


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("randon", "random"), ("cluster", "clusters"), ("Frame", "frames")],
)
def test_an_unknown_kind_names_the_nearest_one(typed, meant):
    shows(f"did you mean '{meant}'", **options(typed))


@pytest.mark.parametrize(
    ("kind", "change", "text"),
    [
        ("random", {"size": 1}, "at least 2 images; got size = 1"),
        ("random", {"size": 61}, "61 images cannot be drawn from 60"),
        ("random", {"seed": -1}, "seed must not be negative; got -1"),
        ("random", {"duplicates": np.arange(TOTAL) % 3}, "has only 3"),
        (
            "random",
            {"duplicates": np.arange(5)},
            r"int \[60\].*got int64 \[5\]",
        ),
        ("similar", {"embeddings": None}, r"needs embeddings \[60, D\]"),
        ("similar", {"embeddings": circle(59)}, r"got \[59, 2\]"),
        ("similar", {"embeddings": np.zeros((60, 2))}, "has length 0.0"),
        ("similar", {"embeddings": np.full((60, 2), np.nan)}, "length nan"),
        ("similar", {"pool": 2}, "pool = 2 .* at least 3"),
        ("similar", {"near_duplicate": 1.5}, "1.5 is no cosine"),
        (
            "similar",
            {"embeddings": np.ones((60, 2)), "near_duplicate": 0.995},
            "needs 3 distractors and only 0 of 59",
        ),
        ("clusters", {"clusters": None}, "needs clusters"),
        ("clusters", {"clusters": np.arange(TOTAL) // 3}, "largest has 3"),
        ("clusters", {"clusters": np.full(TOTAL, -1)}, "none of 0 groups"),
        ("clusters", {"clusters": np.zeros(TOTAL)}, "must be an int"),
        ("frames", {"frames": None}, "needs frames"),
        ("frames", {"frames": np.arange(TOTAL) // 3}, "no episode has 4"),
    ],
)
def test_a_request_that_cannot_be_met_says_why(kind, change, text):
    shows(text, **options(kind, **change))
