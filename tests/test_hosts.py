"""Several processes on one machine give what one gives."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import types

import pytest
import together
from program import ROOT

from vlm_games import hosts
from vlm_games.data.workdir import Workdir, WorkdirError


def start(folder, count: int, *step: str) -> list[subprocess.Popen]:
    """The processes of a run on loopback."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    return [
        subprocess.Popen(
            [sys.executable, ROOT / "tests/together.py", folder]
            + [str(x) for x in (count, host, port, *step)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for host in range(count)
    ]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process finds: (folder, by case what it tells)."""
    folder = tmp_path_factory.mktemp("alone")
    found = {c: together.improve(folder / c, c) for c in together.CASES}
    assert found["uneven"]["own"]["made"] == [0, 1, 2]
    return folder, found


@pytest.fixture(scope="module", params=[2, 4])
def ran(request, tmp_path_factory):
    """(hosts, folder, by case what each host tells)."""
    folder = tmp_path_factory.mktemp("several")
    for process in start(folder, request.param):
        output, _ = process.communicate(timeout=900)
        assert process.returncode == 0, output
    told = {
        case: [
            json.loads((folder / f"{case}.{host}.json").read_text())
            for host in range(request.param)
        ]
        for case in together.CASES
    }
    return request.param, folder, told


def assert_close(found: list[dict], expected: list[dict]):
    """Equal metrics, but for the rounding of sums."""
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        params = mine["params"]
        assert params == pytest.approx(theirs["params"], rel=1e-5, abs=1e-5)
        assert mine | {"params": 0, "stages": 0} == theirs | {
            "params": 0,
            "stages": 0,
        }
        for name, figures in theirs.get("stages", {}).items():
            assert mine["stages"][name] == pytest.approx(figures, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("case", together.CASES)
def test_several_hosts_give_what_one_gives(ran, alone, case):
    _, folder, told = ran
    expected = alone[1][case]["metrics"]
    assert expected[1]["games_kept"] > 0
    for host in told[case]:
        assert_close(host["metrics"], expected)
    for path in sorted((alone[0] / case).rglob("*.jsonl")):
        mine = folder / case / path.relative_to(alone[0] / case)
        assert mine.read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_every_shard_is_made_by_one_host(ran):
    count, _, told = ran
    for case, (shards, _) in together.CASES.items():
        made = [set(host["own"]["made"]) for host in told[case]]
        assert sorted(sum(map(list, made), [])) == list(range(shards))
        assert sum(not own for own in made) == max(count - shards, 0)


@pytest.mark.slow
def test_a_host_reads_the_images_of_its_own_rows(ran, alone):
    count, _, told = ran
    whole = alone[1]["uneven"]["own"]["read"]
    for host in told["uneven"]:
        assert host["own"]["read"] == whole // count


@pytest.mark.slow
def test_a_killed_host_stops_the_others_and_one_may_go_on(tmp_path, alone):
    first, last = start(tmp_path, 2, "1")
    last.communicate(timeout=600)
    killed = time.time()
    assert last.returncode == -signal.SIGKILL
    output, _ = first.communicate(timeout=120)
    assert first.returncode != 0 and time.time() - killed < 60
    assert "lost another one" in output or "another task died" in output
    case = next(iter(together.CASES))
    folder = tmp_path / case
    assert list(folder.glob("arms/main/iter_001/training/sft/step_*"))
    resumed = together.improve(folder, case)
    assert resumed["own"]["made"] == []
    assert_close(resumed["metrics"], alone[1][case]["metrics"])


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


class Store:
    """What processes tell one another, as this one of three sees it."""

    def __init__(self, *others: str):
        self.others = others

    def key_value_set(self, key, text):
        assert key.endswith("/1")
        self.mine = text

    def wait_at_barrier(self, key, timeout):
        pass

    def key_value_try_get(self, key):
        return (self.others[0], self.mine, self.others[1])[int(key[-1])]


@pytest.fixture
def told(as_host, monkeypatch):
    """Makes this process host 1 of three, the others of which tell this."""

    def tell(*others):
        as_host(1, 3)
        store = Store(*map(json.dumps, others))
        state = types.SimpleNamespace(client=store)
        monkeypatch.setattr(hosts.distributed, "global_state", state)

    return tell


def test_host_0_is_believed_and_numbers_are_summed(told):
    told(["there", True], ["there", False])
    assert hosts.first_says("there", False) is True
    told(["tokens", 5], ["tokens", 1 << 40])
    assert hosts.total("tokens", 7) == 12 + (1 << 40)


def test_hosts_with_other_values_are_named(told):
    mine = hashlib.sha256(b"[1, 2]").hexdigest()
    told(["examples", mine], ["examples", "another"])
    with pytest.raises(hosts.HostsError, match=r"examples: hosts \[2\] have"):
        hosts.agree("examples", [1, 2])


def test_hosts_that_come_to_other_places_do_not_wait_for_ever(told):
    told(["played", None], ["measured", None])
    with pytest.raises(
        hosts.HostsError, match="'played', host 2 to 'measured'"
    ):
        hosts.meet("played")


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
    assert hosts.is_first() and hosts.total("tokens", 7) == 7
