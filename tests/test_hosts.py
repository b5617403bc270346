"""Several processes on one machine give what one gives."""

import json
import socket

import numpy as np
import pytest
from program import outcome, start

from vlm_games import hosts
from vlm_games.data.workdir import Workdir, WorkdirError

DEVICES = 4  # in all, however many processes share them
# Three shards of games: uneven for two hosts, too few for four.
SETTINGS = (
    "controls=()",
    "mesh.fsdp=2",
    "play_images=12",
    "play.slots=4",
    "play.turns=1",
    "game.games=6",
    "game.shard=2",
    "game.asks_all=1.0",
    "encode_images=8",
    "score_rows=4",
    "train.steps=2",
    "train.save_every=1",
    "train.rows.describer=1",
    "train.rows.replay_answer=0",
    "train.rows.replay_game=0",
    "eval.target_images=4",
    "eval.source_images=4",
    "eval.games=4",
    "eval.guard_games=0",
)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def start_all(workdir, cache, count: int) -> list:
    """The processes of a run."""
    if count == 1:
        return [start(workdir, cache, *SETTINGS, devices=DEVICES)]
    together = (f"--hosts={count}", f"--coordinator=127.0.0.1:{free_port()}")
    return [
        start(
            workdir,
            cache,
            *SETTINGS,
            devices=DEVICES // count,
            flags=(*together, f"--host={host}"),
        )
        for host in range(count)
    ]


def ends(processes) -> list[str]:
    """What each prints; all end well."""
    outputs = [process.communicate(timeout=900)[0] for process in processes]
    for process, output in zip(processes, outputs, strict=True):
        assert process.returncode == 0, output
    return outputs


def dialogs(workdir) -> list[dict]:
    """All games of a run, with what was said in them."""
    return [
        json.loads(line)
        for path in sorted(workdir.glob("arms/main/*/dialogs/*.jsonl"))
        for line in path.read_text().splitlines()
    ]


def assert_close(found, expected, where=""):
    """Equal but for the rounding of sums."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for name, value in expected.items():
            assert_close(found[name], value, f"{where}/{name}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for x, y in zip(found, expected, strict=True):
            assert_close(x, y, where)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-4), where
    else:
        assert found == expected, where


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(scope="module")
def alone(tmp_path_factory, cache):
    """The workdir of a run of one process."""
    workdir = tmp_path_factory.mktemp("alone")
    ends(start_all(workdir, cache, 1))
    return workdir


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_several_hosts_give_what_one_gives(count, tmp_path, cache, alone):
    first, *others = ends(start_all(tmp_path, cache, count))
    assert "Look at" in first
    assert not any(others), "only host 0 has something to say"
    assert len(dialogs(alone)) == 6
    assert_close(dialogs(tmp_path), dialogs(alone))
    assert_close(outcome(tmp_path), outcome(alone))
    assert (tmp_path / "report.html").exists()


# What each does of its own ----------------------------------------------------


@pytest.fixture
def as_host(monkeypatch):
    """Makes this process believe to be one of several."""

    def become(index: int, count: int):
        monkeypatch.setattr(hosts, "index", lambda: index)
        monkeypatch.setattr(hosts, "count", lambda: count)

    return become


@pytest.mark.parametrize("items", [0, 1, 3, 8])
def test_shares_are_disjoint_and_miss_nothing(as_host, items):
    found = []
    for index in range(4):
        as_host(index, 4)
        found.append(hosts.share(range(items)))
    assert sorted(sum(found, [])) == list(range(items))
    sizes = [len(share) for share in found]
    assert max(sizes) - min(sizes) <= 1


def test_hosts_with_other_values_are_named(as_host, monkeypatch):
    as_host(1, 3)

    def gather(mine):
        return np.stack([mine, mine + np.uint8(1), mine])

    monkeypatch.setattr(hosts.multihost_utils, "process_allgather", gather)
    with pytest.raises(hosts.HostsError, match=r"examples: hosts \[1\] have"):
        hosts.agree("examples", [1, 2])


def test_sums_over_hosts_do_not_overflow(as_host, monkeypatch):
    as_host(0, 2)
    monkeypatch.setattr(
        hosts.multihost_utils,
        "process_allgather",
        lambda mine: np.stack([mine, mine]),
    )
    assert hosts.total(5 << 40) == 10 << 40


def test_a_workdir_that_hosts_do_not_share_is_refused(
    as_host, monkeypatch, tmp_path
):
    monkeypatch.setattr(hosts, "meet", lambda what: None)
    as_host(1, 2)
    with pytest.raises(WorkdirError, match="Host 1 does not see what host 0"):
        Workdir(tmp_path).claim({"seed": 0})
    as_host(0, 2)
    first = Workdir(tmp_path)
    first.claim({"seed": 0})
    as_host(1, 2)
    Workdir(tmp_path).claim({"seed": 0})
    with pytest.raises(WorkdirError, match="seed: 0 there, 1 now"):
        Workdir(tmp_path).claim({"seed": 1})
    first._lock.close()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("some", "a:1", 0), "a number of processes, or 'auto'"),
        (("0", "a:1", 0), "a number of processes, or 'auto'"),
        (("2", None, 0), "needs --coordinator"),
        (("2", "a:1", None), "found 'a:1' and None"),
        (("2", "a:1", 2), "from 0 to 1"),
    ],
)
def test_flags_that_do_not_fit_are_told(given, told):
    with pytest.raises(ValueError, match=told):
        hosts.connect(*given)


def test_a_run_of_one_process_connects_to_nothing():
    hosts.connect("1", None, None)
    hosts.meet("nobody")
    assert hosts.is_first() and hosts.total(7) == 7
