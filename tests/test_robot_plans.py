"""What the arms are told, what goes wrong with it, and how it is seen."""

import dataclasses

import numpy as np
import pytest

from vlm_games.robot import flaws, looks, plans
from vlm_games.robot.tasks import ACROSS, TASKS, draw_places

CASES = [(t, f) for t in TASKS for f in flaws.FLAWS[t]]


def make_script(name: str, seed: int = 0):
    rng = np.random.default_rng(seed)
    places = draw_places(TASKS[name], rng)
    return places, plans.script(TASKS[name], places, rng)


@pytest.mark.parametrize("name", TASKS)
def test_objects_lie_where_gym_aloha_lays_them(name):
    task = TASKS[name]
    rng = np.random.default_rng(0)
    drawn = np.stack([draw_places(task, rng) for _ in range(200)])
    for place, (low, high) in zip(
        drawn.transpose(1, 2, 0), task.objects.values(), strict=True
    ):
        assert low <= place[0].min() and place[0].max() <= high
        assert ACROSS[0] <= place[1].min() and place[1].max() <= ACROSS[1]
        assert np.ptp(place[0]) > 0.8 * (high - low)


@pytest.mark.parametrize("name", TASKS)
def test_every_step_has_a_place_a_turn_and_an_opening_for_both_arms(name):
    _, arms = make_script(name)
    told = plans.actions(arms, np.random.default_rng(1))
    assert told.shape == (plans.LAST_STEP + 1, 16)
    for side in (told[:, :8], told[:, 8:]):
        np.testing.assert_allclose(np.linalg.norm(side[:, 3:7], axis=1), 1)
        assert ((side[:, 7] >= 0) & (side[:, 7] <= 1)).all()
        # No faster than an arm follows: 2 m/s.
        assert np.abs(np.diff(side[:, :3], axis=0)).max() < 0.04


def test_hands_look_down_and_each_its_own_way():
    down = plans.Waypoint(0, 0, 0, 0, pitch=90)
    for side, forward in (("left", [1, 0, 0]), ("right", [-1, 0, 0])):
        w, *v = plans.follow([down], side)[0, 3:7]
        # The vector turned by the quaternion.
        t = 2 * np.cross(v, forward)
        turned = forward + w * t + np.cross(v, t)
        np.testing.assert_allclose(turned, [0, 0, -1], atol=1e-12)


def test_a_hand_closes_about_the_cube():
    places, arms = make_script("transfer_cube")
    told = plans.follow(arms["right"], "right")
    np.testing.assert_allclose(told[130, :2], places[0, :2])
    assert told[130, 7] == 1 and told[150, 7] == 0


def test_the_cube_changes_hands_only_when_both_hold_it():
    _, arms = make_script("transfer_cube")
    left, right = (plans.follow(arms[side], side) for side in plans.SIDES)
    assert np.abs(left[300, :3] - right[300, :3]).max() < 0.03
    assert left[300, 7] == 0 and right[300, 7] == 0
    assert left[330, 7] == 0 and right[330, 7] == 1


def test_the_peg_goes_in_along_the_socket():
    _, arms = make_script("insertion")
    left, right = (plans.follow(arms[side], side) for side in plans.SIDES)
    apart = (right - left)[:, 0]
    # Half a peg and half a socket are 0.12 m; the stop in it is at 0.10.
    assert apart[260] > 0.12 and apart[-1] < 0.1
    np.testing.assert_allclose(right[260:, 1], left[260:, 1])


@pytest.mark.parametrize(("name", "flaw"), CASES)
def test_a_flaw_changes_the_way_and_not_how_the_hands_stand(name, flaw):
    _, arms = make_script(name)
    spoilt = flaws.spoil(arms, TASKS[name], flaw, np.random.default_rng(3))
    told = [
        np.concatenate([plans.follow(a[side], side) for side in plans.SIDES])
        for a in (arms, spoilt)
    ]
    assert np.abs(told[0] - told[1]).max() > 0.02
    for side in plans.SIDES:
        ends = [dataclasses.asdict(a[side][-1]) for a in (arms, spoilt)]
        for key in ("step", "z", "pitch", "roll"):
            assert ends[0][key] == ends[1][key]
        assert abs(ends[0]["x"] - ends[1]["x"]) < 0.05


def test_a_hand_that_lets_go_is_open_for_a_moment():
    _, arms = make_script("transfer_cube")
    before = plans.follow(arms["right"], "right")
    after = plans.follow(flaws.let_go(arms["right"], 200), "right")
    np.testing.assert_allclose(after[:, :7], before[:, :7])
    changed = np.flatnonzero(np.abs(after - before).max(axis=1) > 1e-9)
    assert changed.min() > 200 and changed.max() < 200 + flaws.AGAIN
    assert after[204, 7] == 1


def test_the_source_has_one_look_and_the_target_many():
    drawn = [looks.draw_look(np.random.default_rng(i)) for i in range(50)]
    assert len(set(drawn)) == 50
    assert looks.draw_look(np.random.default_rng(7)) == drawn[7]
    for field in ("lamps", "turn", "tilt", "distance", "things"):
        values = {getattr(look, field) for look in drawn}
        assert len(values) > 10 and getattr(looks.SOURCE, field) not in values


def test_distractors_lie_where_no_hand_comes():
    for i in range(100):
        for thing in looks.draw_look(np.random.default_rng(i)).things:
            assert thing.y + thing.size < ACROSS[0] or (
                thing.y - thing.size > ACROSS[1]
            )
