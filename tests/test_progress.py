"""What a run tells of how far it is."""

import io
import time

import pytest
import toy
from toy_games import make_bench

from vlm_games.methods.dialog_games import DialogGames
from vlm_games.progress import WAIT, Bars


def test_games_are_told_one_by_one_as_they_end():
    method = DialogGames(make_bench())
    counts: list[int] = []
    prepared = method.prepare(None, 1)
    found = method.candidates(None, prepared, 1, 1, counts.append)
    assert counts == list(range(1, len(found) + 1)) and len(found) > 2
    assert [r.game for r in found] == sorted(r.game for r in found)


@pytest.fixture
def bench(monkeypatch):
    return toy.Bench(monkeypatch)


def test_a_shard_moves_the_bar_from_where_the_last_one_left_it(bench, tmp_path):
    told = []
    bench.improve(tmp_path, lambda *one: told.append(one))
    played = [(done, of) for what, done, of in told if what == "main 1: play"]
    assert played == [(0, 12), (3, 12), (6, 12), (6, 12), (9, 12), (12, 12)]
    # What is on disk is not made again, and counts.
    folder = tmp_path / "arms/main/iter_002"
    (folder / "dialogs/shard_00001.jsonl").unlink()
    (folder / "metrics.json").unlink()
    told.clear()
    bench.improve(tmp_path, lambda *one: told.append(one))
    played = [done for what, done, _ in told if what == "main 2: play"]
    assert played == [6, 9, 12]


def test_a_bar_begins_where_the_work_does():
    """What a resumed run finds done would spoil rate and time left."""
    file = io.StringIO()
    bars = Bars(file, unit="game")
    bars("main 1: play", 600, 640)
    bars("main 1: play", 620, 640)
    bars.close()
    first, *_, last = file.getvalue().strip("\r\n").split("\r")
    assert "600/640" in first and "?game/s" in first
    assert "640/640" in last


def test_the_last_bar_is_full_though_nobody_closes_it():
    """In a notebook; off a terminal a bar moves every half minute only."""
    file = io.StringIO()
    bars = Bars(file)
    for part in range(4):
        bars("main 1: measure", part, 3)
    assert "3/3" in file.getvalue()


def test_a_bar_says_that_it_waits_until_something_is_done():
    file = io.StringIO()
    bars = Bars(file)
    bars("main 1: train", 0, 60)
    assert WAIT in file.getvalue()
    bars("main 1: train", 1, 60)
    bars("main 1: measure", 0, 5)
    train, measure = file.getvalue().split("\n")
    assert "60/60" in train and WAIT not in train.split("\r")[-1]
    bars.close()  # of which nothing was done
    assert "5/5" not in file.getvalue()


def test_on_a_terminal_the_clock_moves(monkeypatch):
    file = io.StringIO()
    monkeypatch.setattr(file, "isatty", lambda: True)
    bars = Bars(file)
    bars("main 1: train", 0, 60)
    time.sleep(1.5)
    assert file.getvalue().count("0/60") > 1
    bars.close()
