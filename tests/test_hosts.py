"""Several processes on one machine give what one gives."""

import contextlib
import hashlib
import importlib.util
import json
import signal
import types

import fake_gcs
import pytest
import together
from processes import Processes
from program import ROOT

from vlm_games import hosts, self_improve
from vlm_games.data.workdir import Workdir, WorkdirError
from vlm_games.host_watch import EXIT_LOST
from vlm_games.preemption import EXIT_PREEMPTED, Notice

TOGETHER = (str(ROOT / "tests/together.py"),)


def told(folder, case: str, count: int) -> list[dict]:
    """What each host tells of a case that it ended."""
    paths = [folder / f"{case}.{host}.json" for host in range(count)]
    return [json.loads(path.read_text()) for path in paths]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process finds: (folder, by case what it tells)."""
    folder = tmp_path_factory.mktemp("alone")
    found = {c: together.improve(folder / c, c) for c in together.CASES}
    assert found["uneven"]["own"]["made"] == [0, 1, 2]
    return folder, found


@pytest.fixture(scope="module", params=[2, 4])
def ran(request, tmp_path_factory, cache):
    """(hosts, folder, by case what each host tells)."""
    folder, count = tmp_path_factory.mktemp("several"), request.param
    codes, texts, _ = Processes(
        cache, count, TOGETHER, folder, ",".join(together.CASES)
    ).end()
    assert codes == [0] * count, "\n".join(texts)
    return count, folder, {c: told(folder, c, count) for c in together.CASES}


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
    shards = [
        [path.name for path in sorted(root.rglob("*.jsonl*"))]
        for root in (folder / case, alone[0] / case)
    ]
    assert shards[0] == shards[1], "others were made and dropped"


@pytest.mark.slow
def test_every_shard_is_made_by_one_host(ran):
    count, _, told = ran
    for case, shards in (("uneven", 3), ("unkept", 4), ("few", 1)):
        made = [set(host["own"]["made"]) for host in told[case]]
        assert sorted(sum(map(list, made), [])) == list(range(shards))
        assert sum(not own for own in made) == max(count - shards, 0)
    if count == 4:
        (_, unkept, _) = together.CASES["unkept"]
        assert told["unkept"][1]["own"]["made"] == list(unkept)


@pytest.mark.slow
def test_a_host_reads_the_images_of_its_own_rows(ran, alone):
    count, _, told = ran
    whole = alone[1]["uneven"]["own"]["read"]
    for host in told["uneven"]:
        assert host["own"]["read"] == whole // count


# Who is lost ------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "faults",
    [
        {
            "1:play:0:SIGKILL": [],
            "0:choose:0:SIGKILL": [],
            "1:choose:0:SIGKILL:15": [],
        },
        {
            "1:save:1:SIGKILL:15": [],
            "0:save:2:SIGKILL": ["step_1"],
            "0:train:2:SIGKILL": ["step_2"],
            "1:train:2:SIGKILL": ["step_2"],
        },
    ],
    ids=("until it trains", "while it trains"),
)
def test_a_killed_host_stops_the_other_and_any_number_goes_on(
    faults, cache, tmp_path, alone
):
    """In phase after phase of one run; `faults` have the states left."""
    for fault, left in faults.items():
        codes, texts, seconds = Processes(
            cache, 2, TOGETHER, tmp_path, "uneven", fault
        ).end()
        killed = int(fault[0])
        other = 1 - killed
        assert codes[killed] == -signal.SIGKILL, (fault, texts)
        assert codes[other] == EXIT_LOST, (fault, texts)
        assert seconds < 60, fault
        gone = f"host {other} stops, since host {killed} of 2 is gone"
        assert gone in texts[other]
        assert f"All that was finished is kept in {tmp_path}" in texts[other]
        folder = tmp_path / "uneven/arms/main/iter_001/training/sft"
        states = [path.name for path in folder.glob("step_?")]
        assert states == left, fault
    resumed = together.improve(tmp_path / "uneven", "uneven")
    assert resumed["own"]["made"] == []
    assert_close(resumed["metrics"], alone[1]["uneven"]["metrics"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "left"),
    [("1:play:0:SIGTERM", []), ("1:train:1:SIGTERM", ["step_2"])],
)
def test_notice_to_one_host_is_notice_to_all(
    fault, left, cache, tmp_path, alone
):
    codes, texts, _ = Processes(
        cache, 2, TOGETHER, tmp_path, "uneven", fault
    ).end()
    assert codes == [EXIT_PREEMPTED] * 2, "\n".join(texts)
    states = (tmp_path / "uneven").glob("arms/main/iter_001/training/sft/s*")
    assert [path.name for path in states] == left
    codes, texts, _ = Processes(cache, 2, TOGETHER, tmp_path, "uneven").end()
    assert codes == [0, 0], "\n".join(texts)
    for host in told(tmp_path, "uneven", 2):
        assert_close(host["metrics"], alone[1]["uneven"]["metrics"])


class Stopped(Exception):
    """In place of the end of this process."""


@pytest.mark.slow
def test_whoever_dies_while_host_0_measures_another_number_goes_on(
    cache, tmp_path, alone
):
    workdir, paused = tmp_path / "uneven", tmp_path / "paused"
    for killed in (1, 0):
        pair = Processes(
            cache, 2, TOGETHER, tmp_path, "uneven", "0:measure:0:PAUSE:15"
        )
        pair.kill(killed, paused)
        codes, texts, seconds = pair.end()
        left = 1 - killed
        assert codes[killed] == -signal.SIGKILL
        assert codes[left] == EXIT_LOST, texts
        assert seconds < 60
        assert f"since host {killed} of 2 is gone" in texts[left]
        assert f"Nothing is finished in {workdir} yet." in texts[left]
        paused.unlink()

    def stop(what, done, of):
        if "train" in what and done == 2:
            raise Stopped

    with pytest.raises(Stopped):
        together.improve(workdir, "uneven", stop)
    codes, texts, _ = Processes(cache, 2, TOGETHER, tmp_path, "uneven").end()
    assert codes == [0, 0], "\n".join(texts)
    for host in told(tmp_path, "uneven", 2):
        assert host["own"]["made"] == []
        assert_close(host["metrics"], alone[1]["uneven"]["metrics"])


@pytest.mark.slow
def test_hosts_that_share_a_bucket_alone_go_on_to_what_one_gives(
    cache, alone, monkeypatch
):
    """What is played before a kill and trained after it goes through it."""
    if importlib.util.find_spec("gcsfs") is None:
        pytest.skip("gcsfs is not installed")
    where = "gs://bucket/several", "uneven"
    with fake_gcs.served() as (objects, variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        codes, texts, _ = Processes(
            cache, 2, TOGETHER, *where, "1:train:2:SIGKILL"
        ).end()
        assert codes == [EXIT_LOST, -signal.SIGKILL], "\n".join(texts)
        assert "kept in gs://bucket/several/uneven, last of all" in texts[0]
        run = "bucket/several/uneven"
        state = f"{run}/arms/main/iter_001/training/sft/step_2/sizes.json"
        assert state in objects.found
        objects.delete(f"{run}/.lock", {})  # as if a minute had passed
        codes, texts, _ = Processes(cache, 2, TOGETHER, *where).end()
        assert codes == [0, 0], "\n".join(texts)
    found = {name: content for name, (content, *_) in objects.found.items()}
    for host in range(2):
        told = json.loads(found[f"bucket/several/uneven.{host}.json"])
        assert told["own"]["made"] == []
        assert_close(told["metrics"], alone[1]["uneven"]["metrics"])
    shards = sorted((alone[0] / "uneven").rglob("*.jsonl"))
    assert len(shards) == 3
    for path in shards:
        name = path.relative_to(alone[0]).as_posix()
        assert found[f"bucket/several/{name}"] == path.read_bytes()
    assert f"{run}/.lock" not in found


TALK = """
import sys
from vlm_games import host_watch, hosts
count, host, port = sys.argv[1:]
hosts.connect(count, f"127.0.0.1:{port}", int(host), 600)
with host_watch.together(lambda: None, str, 600):
    first = hosts.first_says("who is first", lambda: "host " + host)
    print("first:", first, "sum:", hosts.total("numbers", int(host) + 1))
    if host == "1":
        raise ValueError("mine alone")
    hosts.meet("where nobody comes")
"""


def test_an_error_of_one_host_ends_all(cache):
    codes, texts, seconds = Processes(cache, 2, ("-c", TALK)).end()
    assert codes == [1, 1] and seconds < 30, "\n".join(texts)
    assert all("first: host 0 sum: 3" in text for text in texts)
    assert "ValueError: mine alone" in texts[1]
    assert "host 0 stops, since host 1 did" in texts[0]


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


def test_what_is_made_beyond_the_tokens_is_deleted(
    as_host, monkeypatch, tmp_path
):
    as_host(0, 2)
    monkeypatch.setattr(hosts, "meet", lambda what: None)
    monkeypatch.setattr(hosts, "first_says", lambda what, look: look())
    monkeypatch.setattr(hosts, "any_has", lambda what, yes: yes)
    monkeypatch.setattr(hosts, "share", list)  # the other's too
    bench = types.SimpleNamespace(case=together.CASES["unkept"], made=[])
    run = types.SimpleNamespace(
        config=types.SimpleNamespace(generated_tokens=bench.case[2]),
        workdir=Workdir(tmp_path),
        progress=lambda *told: None,
        profiled=contextlib.nullcontext,
        notice=Notice(),
    )
    shared = types.SimpleNamespace(method=together.Made(bench), trainer=None)
    records = self_improve.play(run, shared, "main", 1, None)
    assert [record.game for record in records] == list(range(12))
    assert bench.made == [0, 1, 2, 3]
    left = sorted(path.name for path in tmp_path.rglob("shard_*"))
    assert left == [
        f"shard_{shard:05d}.jsonl{end}"
        for shard in range(3)
        for end in ("", ".sha256")
    ]


class Store:
    """What processes tell one another, as this one of three sees it."""

    def __init__(self, *others: str):
        self.first, self.last = others
        self.looks = 0

    def key_value_set(self, key, text):
        assert key.endswith("/1")
        self.mine = text

    def key_value_dir_get(self, folder):
        self.looks += 1
        found = [(f"{folder}/1", self.mine), (f"{folder}/0", self.first)]
        late = [(f"{folder}/2", self.last)]  # it comes after the others
        return found + late * (self.looks > 1)


@pytest.fixture
def others(as_host, monkeypatch):
    """Makes this process host 1 of three, the others of which tell this."""

    def tell(*words):
        as_host(1, 3)
        store = Store(*map(json.dumps, words))
        state = types.SimpleNamespace(client=store)
        monkeypatch.setattr(hosts.distributed, "global_state", state)

    return tell


def test_host_0_is_believed_and_it_alone_looks(others):
    others(["there", True], ["there", None])
    assert hosts.first_says("there", lambda: pytest.fail("looked")) is True


def test_numbers_are_summed_and_one_that_has_it_is_enough(others):
    others(["tokens", 5], ["tokens", 1 << 40])
    assert hosts.total("tokens", 7) == 12 + (1 << 40)
    others(["notice", False], ["notice", True])
    assert hosts.any_has("notice", False)
    others(["notice", False], ["notice", False])
    assert not hosts.any_has("notice", False)


def test_hosts_with_other_values_are_named(others):
    mine = hashlib.sha256(b"[1, 2]").hexdigest()
    others(["examples", mine], ["examples", "another"])
    with pytest.raises(hosts.HostsError, match=r"examples: hosts \[2\] have"):
        hosts.agree("examples", [1, 2])


def test_hosts_that_come_to_other_places_do_not_wait_for_ever(others):
    others(["played", None], ["measured", None])
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
    first.release()


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
