"""Game records: what is written is read back, what is broken is named."""

import dataclasses
import errno
import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from vlm_games.data import atomic, shards
from vlm_games.data.records import GameRecord, Openly, Retold, Turn
from vlm_games.data.schema import RecordError

TURN = Turn(
    question="is it red ?",
    answer="no",
    summary="not red : 1 3",
    question_logprob=-4.25,
    answer_logprob=-0.5,
    belief=(0.1, 0.4, 0.1, 0.4),
    credit=0.25,
    true=None,
    retold=Retold("is it red ?", "yes", 0.5, 6),
    openly=Openly("what color is it ?", "red", False),
)
GAME = GameRecord(
    game=17,
    iteration=1,
    seed=0,
    images=(12, 998, 4, 77),
    names=("a.jpg", "b/ü.jpg", "c\udcff.jpg", "d\u2028.jpg"),
    target=2,
    turns=(
        TURN,
        dataclasses.replace(
            TURN, belief=None, true=True, retold=None, openly=None
        ),
    ),
    final_summary="",
    guess=2,
    belief=(0.0, 0.25, 0.5, 0.25),
    outcome="success",
    reason=None,
    filters={"success": True, "likelihood": False},
    kept=False,
    copy=1,
)


def changed(**fields) -> str:
    """GAME as a line of JSON, with some fields as the JSON values given."""
    return json.dumps({**json.loads(GAME.to_json()), **fields})


def changed_turn(**fields) -> str:
    turns = json.loads(GAME.to_json())["turns"]
    return changed(turns=[turns[0], {**turns[1], **fields}])


def test_record_comes_back_as_it_was():
    assert GameRecord.from_json(GAME.to_json()) == GAME


def test_record_is_one_line_of_ascii_json():
    line = GAME.to_json()
    assert line.isascii() and len(line.splitlines()) == 1
    assert list(json.loads(line)) == [
        field.name for field in dataclasses.fields(GameRecord)
    ]


def test_aborted_game_without_guess_comes_back():
    game = dataclasses.replace(
        GAME, guess=None, outcome="aborted", reason="no question mark", turns=()
    )
    assert GameRecord.from_json(game.to_json()) == game


@pytest.mark.parametrize(
    ("line", "field"),
    [
        (changed(game="17"), "game"),
        (changed(game=True), "game"),
        (changed(seed=1.0), "seed"),
        (changed(images=[1, 2, -3, 4]), r"images\[2\]"),
        (changed(images=7), "images"),
        (changed(names=["a"]), "names"),
        (changed(target=4), "target"),
        (changed(guess=4), "guess"),
        (changed(guess="2"), "guess"),
        (changed(guess=1), "outcome"),
        (changed(outcome="lose"), "outcome"),
        (changed(outcome="won"), "outcome"),
        (changed(outcome="aborted"), "reason"),
        (changed(reason="tired"), "reason"),
        (changed(belief=[0.5, 0.5]), "belief"),
        (changed(belief=None), "belief"),
        (changed(filters={"success": 1}), "filters.success"),
        (changed(kept=None), "kept"),
        (changed(copy=4), "copy"),
        (changed(copy=2), "copy"),  # the target
        (
            changed_turn(retold={"score": 1}),
            r"turns\[1\].retold, field question",
        ),
        (changed(mood="good"), "mood"),
        (changed(turns=["hello"]), r"turns\[0\]"),
        (changed_turn(answer=None), r"turns\[1\].answer"),
        (changed_turn(answer_logprob="-1"), r"turns\[1\].answer_logprob"),
        (changed_turn(belief=[1.0]), r"turns\[1\].belief"),
        (changed_turn(true="yes"), r"turns\[1\].true"),
        (changed_turn(extra=1), r"turns\[1\].extra"),
    ],
)
def test_wrong_value_names_place_and_field(line, field):
    with pytest.raises(RecordError, match=f"here, field {field}: "):
        GameRecord.from_json(line, "here")


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(GAME)])
def test_missing_field_is_named(name):
    found = json.loads(GAME.to_json())
    del found[name]
    with pytest.raises(RecordError, match=f"field {name}: missing"):
        GameRecord.from_json(json.dumps(found))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not a line of JSON"),
        ("[1]", "expected an object"),
        (changed(belief=[0, 0, 0, float("nan")]), "NaN"),
        (changed(belief=[0, 0, 0, 1e999]), "Infinity"),
        (GAME.to_json()[:-1] + ', "kept": true}', "field kept: given twice"),
        (changed(belief=[0, 0, 0, 1]).replace("1]", "1e999]"), "belief"),
    ],
)
def test_line_that_is_no_record_says_why(line, message):
    with pytest.raises(RecordError, match=message):
        GameRecord.from_json(line)


def test_numpy_value_is_refused_before_it_is_written():
    game = dataclasses.replace(GAME, target=np.int64(2))
    with pytest.raises(RecordError, match=r"game 17.*target.*int64"):
        game.to_json()


def test_not_a_number_is_refused_before_it_is_written():
    turn = dataclasses.replace(TURN, answer_logprob=float("nan"))
    with pytest.raises(RecordError, match=r"turns\[0\].answer_logp"):
        dataclasses.replace(GAME, turns=(turn,)).to_json()


# Shards ----------------------------------------------------------------------


def shard_of(tmp_path, count=3):
    path = tmp_path / "dialogs" / "shard_00000.jsonl"
    games = [dataclasses.replace(GAME, game=i) for i in range(count)]
    shards.write_shard(path, games)
    return path, games


@pytest.mark.parametrize("count", [0, 1, 3])
def test_shard_comes_back_as_it_was(tmp_path, count):
    path, games = shard_of(tmp_path, count)
    assert shards.read_shard(path, GameRecord) == games


def test_shard_is_plain_json_lines(tmp_path):
    path, games = shard_of(tmp_path)
    lines = path.read_text().splitlines()
    assert [json.loads(line)["game"] for line in lines] == [0, 1, 2]


def test_shard_cut_anywhere_is_torn(tmp_path):
    """Between two lines too, where what is left is valid JSON lines."""
    path, _ = shard_of(tmp_path)
    whole = path.read_bytes()
    line_end = whole.index(b"\n") + 1
    for length in (0, 10, line_end, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(shards.TornShardError, match="shard_00000.jsonl"):
            shards.read_shard(path, GameRecord)


def test_shard_with_a_changed_byte_is_torn(tmp_path):
    path, _ = shard_of(tmp_path)
    path.write_bytes(path.read_bytes().replace(b'"game": 1', b'"game": 7'))
    with pytest.raises(shards.TornShardError):
        shards.read_shard(path, GameRecord)


def test_shard_without_checksum_is_torn(tmp_path):
    path, _ = shard_of(tmp_path)
    path.with_name(path.name + ".sha256").unlink()
    with pytest.raises(shards.TornShardError, match="no checksum"):
        shards.read_shard(path, GameRecord)


def test_error_in_a_whole_shard_names_file_line_and_field(tmp_path):
    """As a shard written by another version of the program would be."""
    path, games = shard_of(tmp_path)
    lines = [games[0].to_json(), changed(target="x")]
    content = "\n".join(lines).encode()
    path.write_bytes(content)
    checksum = hashlib.sha256(content).hexdigest()
    path.with_name(path.name + ".sha256").write_text(checksum)
    with pytest.raises(
        RecordError, match=r"00000\.jsonl, line 2, field target"
    ):
        shards.read_shard(path, GameRecord)


def test_shards_are_listed_in_order_and_alone(tmp_path):
    for number in (10, 2):
        shards.write_shard(tmp_path / f"shard_{number:05d}.jsonl", [GAME])
    (tmp_path / ".shard_00003.jsonl.99.tmp").touch()
    (tmp_path / "notes.jsonl").touch()
    names = [path.name for path in shards.list_shards(tmp_path)]
    assert names == ["shard_00002.jsonl", "shard_00010.jsonl"]


def test_folder_that_does_not_exist_has_no_shards(tmp_path):
    assert shards.list_shards(tmp_path / "dialogs") == []


def test_another_url_is_refused_rather_than_made_a_folder():
    with pytest.raises(ValueError, match="gs://<bucket>/"):
        shards.write_shard("s3://bucket/shard_00000.jsonl", [])


def test_bad_record_leaves_nothing_behind(tmp_path):
    games = [GAME, dataclasses.replace(GAME, guess=1)]
    with pytest.raises(RecordError):
        shards.write_shard(tmp_path / "shard_00000.jsonl", games)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_failed_write_keeps_the_old_file(tmp_path, monkeypatch, step):
    path = tmp_path / "a"
    atomic.write_bytes(path, b"old")

    def fail(*args):
        raise OSError(errno.ENOSPC, "disk full")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="disk full"):
        atomic.write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_bytes_are_on_disk_before_the_name_and_the_name_after(
    tmp_path, monkeypatch
):
    order = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda f: order.append("f") or fsync(f))
    monkeypatch.setattr(
        os, "replace", lambda a, b: order.append("r") or replace(a, b)
    )
    atomic.write_bytes(tmp_path / "a", b"x")
    assert order == ["f", "r", "f"]  # file, rename, folder


@pytest.mark.parametrize("killed_at", [1, 2])
def test_writer_killed_before_a_rename_leaves_no_shard(tmp_path, killed_at):
    """Killed before renaming the checksum (1) or the shard (2)."""
    program = f"""
import os, signal
from vlm_games.data import shards
calls, replace = [], os.replace
def replace_or_die(*args):
    calls.append(args)
    if len(calls) == {killed_at}:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*args)
os.replace = replace_or_die
shards.write_shard({str(tmp_path / "shard_00000.jsonl")!r}, [])
"""
    done = subprocess.run([sys.executable, "-c", program], check=False)
    assert done.returncode == -9
    assert shards.list_shards(tmp_path) == []
    shards.write_shard(tmp_path / "shard_00000.jsonl", [GAME])
    (shard,) = shards.list_shards(tmp_path)
    assert shards.read_shard(shard, GameRecord) == [GAME]
