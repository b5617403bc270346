"""A whole run in Python: what it gives back, and twice in one process."""

import re

import pytest
import toy

from vlm_games import whole_run
from vlm_games.data.workdir import Workdir, WorkdirError
from vlm_games.report_run import where_to_look
from vlm_games.whole_run import carry_out


@pytest.fixture
def bench(monkeypatch):
    """Toy games and updates, in the place of what the config names."""
    made = toy.Bench(monkeypatch)
    made.config.controls = ("control",)
    monkeypatch.setattr(
        whole_run, "build", lambda config: made.run("unused").setup
    )
    return made


def test_params_of_every_iteration_are_those_that_were_measured(
    bench, tmp_path
):
    told = []
    done = carry_out(bench.config, tmp_path, lambda *x: told.append(x))
    assert list(done.arms) == ["main", "control"] and told
    for arm, rows in done.arms.items():
        for row in rows:
            params = done.params(arm, row["iteration"])
            assert toy.digest(params) == row["params"]
    assert toy.digest(done.params()) == done.arms["main"][-1]["params"]
    with pytest.raises(FileNotFoundError, match="main has 1, 2"):
        done.params("main", toy.ITERATIONS + 1)
    assert re.search(r"\nmain +2 ", done.text)
    assert (tmp_path / "report.html").as_uri() in where_to_look(tmp_path)
    assert str(tmp_path) not in done.text  # which notebooks show
    assert (tmp_path / "report.html").is_file()


def test_a_run_may_be_carried_out_again_in_the_same_process(bench, tmp_path):
    first = carry_out(bench.config, tmp_path)
    played = list(bench.bench.played)
    again = carry_out(bench.config, tmp_path)
    assert again.arms == first.arms and bench.bench.played == played


def test_a_run_that_fails_lets_go_of_its_folder(bench, tmp_path):
    def fail(*progress):
        raise RuntimeError("the lights went out")

    with pytest.raises(RuntimeError, match="lights"):
        carry_out(bench.config, tmp_path, fail)
    assert carry_out(bench.config, tmp_path).arms["main"]


def test_fields_that_differ_are_told_in_order_of_what_they_say(tmp_path):
    fields = {name: 0 for name in ("a", "b", "c", "d", "method")}
    first = Workdir(tmp_path)
    first.claim(fields | {"digests": {"base": "0123456789" * 6}})
    first.release()
    with pytest.raises(WorkdirError) as caught:
        Workdir(tmp_path).claim({"method": 1, "digests": {"base": "f" * 64}})
    told = str(caught.value)
    assert "config (method: 0 there, 1 now, a: 0 there" in told
    assert "and 1 more" in told and "digests" not in told
    with pytest.raises(WorkdirError, match="base: 01234567... there, ffff"):
        Workdir(tmp_path).claim(fields | {"digests": {"base": "f" * 64}})


def test_a_folder_is_claimed_by_one_at_a_time(tmp_path):
    first, second = Workdir(tmp_path), Workdir(tmp_path)
    first.claim({"seed": 0})
    with pytest.raises(WorkdirError, match="Another process"):
        second.claim({"seed": 0})
    first.release()
    second.claim({"seed": 0})
    second.release()
