"""Recordings: balanced, resumable, cached; and what is asked about them."""

import json
import pathlib
import sys
import types

import numpy as np
import pytest

from vlm_games.data.manifest import ManifestError, open_manifest
from vlm_games.evaluation.measure import measure_outcomes
from vlm_games.evaluation.robot import QUESTION, open_outcomes, success_items
from vlm_games.games.prompts import Prompts
from vlm_games.pretraining.frames import load_frames
from vlm_games.robot import recording
from vlm_games.robot.episodes import PARTS, Episode, Settings
from vlm_games.robot.facts import Facts, read_labels
from vlm_games.robot.plans import SIDES
from vlm_games.robot.recording import record, tell
from vlm_games.robot.tasks import TASKS
from vlm_games.sampling.scoring import Score
from vlm_games.workbench import truth

SMALL = Settings(seed=3, episodes=2, frames=2, size=16)
COUNT = 2 * 2 * (1 + 1 + 2 + 2 + 1)


@pytest.fixture
def simulated(monkeypatch):
    """In place of the physics: a list of what was rendered.

    Whether an episode succeeds is as good as a coin's toss.
    """
    rendered = []

    def roll_out(task, places, actions):
        coin = int(abs(actions.sum()) * 1e6) % 2 == 0
        rewards = np.full(len(actions), 4 if coin else 2)
        return types.SimpleNamespace(
            positions=actions, rewards=rewards, success=coin
        )

    def paint(task, positions, look, size):
        rendered.append((task.name, look))
        level = np.abs(positions[:, :3] * 255).astype(np.uint8)
        whole = np.broadcast_to(
            level[:, None, None], (len(level), size, size, 3)
        )
        return np.ascontiguousarray(whole)

    def look_up(task, positions, step):
        places = dict.fromkeys(
            [*task.words, *SIDES], tuple(positions[step, :3])
        )
        held = {word: ("left",) * (step == 400) for word in task.words}
        return Facts(held, task.words, False, places)

    fake = types.SimpleNamespace(
        roll_out=roll_out, paint=paint, look_up=look_up
    )
    monkeypatch.setattr(recording, "load_simulator", lambda: fake)
    return rendered


def files(folder: pathlib.Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file()
    }


def rows_of(folder: pathlib.Path, part: str) -> list[dict]:
    text = (folder / f"{part}.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_half_of_a_part_succeeds_whatever_the_physics_say(tmp_path, simulated):
    record(tmp_path, SMALL)
    assert len(simulated) == COUNT
    for part, kind in PARTS.items():
        rows = rows_of(tmp_path, part)
        for task in TASKS:
            ends = [r for r in rows if r["task"] == task and r["step"] == 400]
            assert len(ends) == SMALL.episodes * kind.share
            assert [r["success"] for r in ends] == [True, False] * kind.share
            # The label is what the physics gave.
            assert all(r["success"] == (r["reward"] == 4) for r in ends)


def test_a_manifest_is_an_image_source(tmp_path, simulated):
    record(tmp_path, SMALL)
    source = open_manifest(tmp_path / "target-play.jsonl", 8)
    assert len(source) == 2 * 2 * 2 * SMALL.frames
    assert source[0].shape == (8, 8, 3)
    groups = source.groups
    assert len(set(groups.tasks)) == 2
    assert len(set(groups.episodes)) == 8
    assert sorted(set(groups.steps)) == [200, 400]


def test_only_the_target_has_other_looks(tmp_path, simulated):
    record(tmp_path, SMALL)
    looks = {
        part: {json.dumps(r["look"]) for r in rows_of(tmp_path, part)}
        for part in PARTS
    }
    assert looks["source-train"] == looks["source-test"]
    assert len(looks["source-train"]) == 1
    assert len(looks["target-play"] | looks["target-test"]) == 16


def test_a_frames_facts_are_read_back(tmp_path, simulated):
    record(tmp_path, SMALL)
    source = open_manifest(tmp_path / "source-train.jsonl", 8)
    labels = read_labels(tmp_path / "source-train.jsonl")
    assert sorted(labels) == sorted(source.names)
    for label in labels.values():
        assert set(label.facts.held) == set(TASKS[label.task].words)
        held = ("left",) * (label.step == 400)
        assert all(hands == held for hands in label.facts.held.values())
        assert {"left", "right"} < set(label.facts.places)


def test_a_recording_without_facts_is_told(tmp_path, simulated):
    record(tmp_path, SMALL)
    known = rows_of(tmp_path, "source-train")
    assert len(load_frames(tmp_path / "source-train.jsonl", 8).facts) == 8
    del known[3]["facts"]
    path, _ = write(tmp_path / "m.jsonl", known)
    assert len(read_labels(path)) == len(known) - 1
    with pytest.raises(ManifestError, match=r"0001/400 has no.*record_aloha"):
        load_frames(path, 8)


def test_the_same_seed_gives_the_same_files(tmp_path, simulated):
    for name in ("a", "b"):
        record(tmp_path / name, SMALL)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    record(tmp_path / "c", Settings(4, 2, 2, 16))
    assert files(tmp_path / "c") != files(tmp_path / "a")


def test_what_is_there_is_not_made_again(tmp_path, simulated, monkeypatch):
    record(tmp_path, SMALL)
    before = files(tmp_path)
    monkeypatch.setattr(recording, "load_simulator", None)  # not even asked
    told = []
    record(tmp_path, SMALL, done=lambda *x: told.append(x))
    assert told == [(COUNT, COUNT)] and files(tmp_path) == before


def test_a_stopped_recording_goes_on(tmp_path, simulated):
    record(tmp_path / "whole", SMALL)
    done = []

    def stop(count, of):
        done.append(count)
        if count == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record(tmp_path / "parts", SMALL, done=stop)
    assert not list((tmp_path / "parts").glob("*.jsonl"))
    simulated.clear()
    record(tmp_path / "parts", SMALL)
    assert len(simulated) == COUNT - 5
    assert files(tmp_path / "parts") == files(tmp_path / "whole")


def test_other_settings_in_one_folder_are_refused(tmp_path, simulated):
    record(tmp_path, SMALL)
    with pytest.raises(ValueError, match=r"frames=2 \(asked for 5\)"):
        record(tmp_path, Settings(3, 2, 5, 16))


def test_an_odd_number_of_episodes_cannot_be_balanced():
    with pytest.raises(ValueError, match="episodes is 3; give an even"):
        Settings(episodes=3)


def test_an_episode_that_never_ends_as_wanted_is_told(tmp_path, simulated):
    never = recording.load_simulator()
    never.roll_out = lambda *_: types.SimpleNamespace(success=False)
    with pytest.raises(ValueError, match="0000: 40 tries.*success=True"):
        recording.record_episode(
            tmp_path, SMALL, Episode("insertion", "source-test", 0, True)
        )


def test_the_missing_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "vlm_games.robot.simulator", raising=False)
    monkeypatch.setitem(sys.modules, "mujoco", None)
    with pytest.raises(ValueError, match=r"vlm_games\[aloha\].*libosmesa6"):
        record(tmp_path, SMALL)
    assert not list(tmp_path.iterdir())


def test_the_table_counts_parts_and_tries(tmp_path, simulated):
    record(tmp_path, SMALL)
    counts = recording.summary(tmp_path, SMALL)
    assert counts["parts"]["target-test, insertion"] == {
        "episodes": 4,
        "frames": 8,
        "success": 50.0,
    }
    assert sum(x["tries"] for x in counts["tries"].values()) > COUNT
    assert "target-test, insertion" in tell(counts)


# Did it succeed? --------------------------------------------------------------


def write(path, rows):
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path, [r["path"] for r in rows]


def row(episode: str, step: int, task: str, success) -> dict:
    return {
        "path": f"{episode}/{step}.png",
        "episode": episode,
        "step": step,
        "task": task,
        "success": success,
    }


def test_the_last_frame_of_every_recorded_episode_is_asked_about(
    tmp_path, simulated
):
    record(tmp_path, SMALL)
    manifest = tmp_path / "target-test.jsonl"
    source = open_manifest(manifest, 8)
    items = success_items(manifest, source.names, seed=0)
    assert len(items) == 8
    labels = {r["id"]: r for r in rows_of(tmp_path, "target-test")}
    for item in items:
        found = labels[source.names[item.image]]
        assert found["step"] == 400
        assert (item.answer == "yes") == found["success"]
        assert item.question.text == TASKS[found["task"]].question
        assert item.question.yes_no and item.question.kind == found["task"]


def test_yes_and_no_are_asked_as_often(tmp_path):
    rows = [row(f"e{i}", 1, "lift", i < 7) for i in range(10)]
    rows += [row(f"f{i}", 1, "push", i < 1) for i in range(4)]
    path, names = write(tmp_path / "m.jsonl", rows)
    items = success_items(path, names, seed=0)
    for task, count in (("lift", 3), ("push", 1)):
        answers = [i.answer for i in items if i.question.kind == task]
        assert sorted(answers) == ["no"] * count + ["yes"] * count
    assert {i.question.text for i in items} == {QUESTION}
    assert len({i.image for i in items}) == len(items)
    assert success_items(path, names, seed=0) == items
    assert success_items(path, names, seed=1) != items


def test_the_last_step_counts_and_not_the_last_row(tmp_path):
    rows = [row("a", 9, "lift", True), row("a", 3, "lift", True)]
    path, names = write(
        tmp_path / "m.jsonl", [*rows, row("b", 0, "lift", 0 > 1)]
    )
    assert {i.image for i in success_items(path, names, seed=0)} == {0, 2}


def test_images_that_the_source_has_not_are_not_asked_about(tmp_path):
    rows = [row(f"e{i}", 1, "lift", i % 2 == 0) for i in range(6)]
    path, names = write(tmp_path / "m.jsonl", rows)
    items = success_items(path, names[:2], seed=0)
    assert sorted(i.image for i in items) == [0, 1]


def test_only_frames_that_are_asked_about_are_held(tmp_path, simulated):
    record(tmp_path, SMALL)
    manifest = tmp_path / "target-test.insertion.jsonl"
    outcomes = open_outcomes(manifest, 8, seed=0)
    assert len(outcomes.images) == len(outcomes.items) == 4
    labels = {r["id"]: r for r in rows_of(tmp_path, "target-test")}
    for item in outcomes.items:
        found = labels[outcomes.images.names[item.image]]
        assert (found["step"], found["task"]) == (400, "insertion")
        assert (item.answer == "yes") == found["success"]


def test_a_model_that_always_says_yes_is_right_in_half(tmp_path, simulated):
    record(tmp_path, SMALL)
    outcomes = open_outcomes(tmp_path / "target-test.jsonl", 8, seed=0)

    def score(params, tokens, examples):
        said = [e.branches[0][1].text for e in examples]
        return [
            (Score(np.log(0.9 if x == "yes" else 0.1), x == "yes"),)
            for x in said
        ]

    speaker = types.SimpleNamespace(
        engine=types.SimpleNamespace(encode=lambda params, pixels: pixels),
        prompts=Prompts(),
    )
    found = measure_outcomes(
        speaker, types.SimpleNamespace(score=score), None, "robot", outcomes
    )
    assert found["robot_success"] == pytest.approx(50)
    assert (found["robot_yes"], found["robot_no"]) == (100, 0)
    assert found["robot_sampled"] == pytest.approx(50)
    assert set(found["robot_tasks"]) == set(TASKS)


def test_answers_about_frames_are_known_to_be_true_or_false(
    tmp_path, simulated
):
    record(tmp_path, SMALL)
    manifest = tmp_path / "target-play.transfer_cube.jsonl"
    source, labels = open_manifest(manifest, 8), read_labels(manifest)
    for image, name in enumerate(source.names):
        asked = (source, labels, image, TASKS["transfer_cube"].question)
        assert truth(*asked, "yes") == (labels[name].step == 400)
        assert truth(*asked, "no") == (labels[name].step != 400)
        assert truth(*asked[:3], TASKS["insertion"].question, "no") is None
    assert truth(source, {}, 0, TASKS["insertion"].question, "no") is None


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([row("a", 1, "lift", "yes")], "line 1: success is 'yes'.*bool"),
        ([row("a", 1, "lift", True)], "no task has both"),
    ],
)
def test_labels_that_cannot_be_used_are_told(tmp_path, rows, words):
    path, names = write(tmp_path / "m.jsonl", rows)
    with pytest.raises(ManifestError, match=words):
        success_items(path, names, seed=0)


# The physics themselves -------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("success", [True, False])
def test_an_episode_is_simulated_and_rendered(tmp_path, monkeypatch, success):
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    pytest.importorskip("gym_aloha")
    try:
        recording.load_simulator()
    except ValueError as error:
        pytest.skip(str(error))
    settings = Settings(frames=2, size=64)
    episode = Episode("transfer_cube", "target-test", 0, success)
    recording.record_episode(tmp_path, settings, episode)
    found = json.loads(
        (tmp_path / "frames" / episode.name / "episode.json").read_text()
    )
    assert found["rows"][-1]["reward"] == (4 if success else 0)
    assert found["tries"][-1][1] == success
    for r in found["rows"]:
        assert (tmp_path / r["path"]).stat().st_size > 500
    last = Facts.from_dict(found["rows"][-1]["facts"])
    assert last.held["cube"] == (("left",) if success else ())
    assert 0 < last.places["cube"][2] < 0.5
