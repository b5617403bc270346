"""A run in a bucket is the run that it is in a folder.

The clients are the true ones, gcsfs and TensorStore; the bucket is fake_gcs.py.
"""

import importlib.util
import json
import os
import pathlib
import threading
import time

import fake_gcs
import jax
import numpy as np
import pytest
from toy import STEPS, Bench, Stopped, stop_at

import vlm_games.viewing.run_folder as viewer
from vlm_games.data import atomic, lock, shards, storage
from vlm_games.data.workdir import Workdir, WorkdirError, last_kept
from vlm_games.report.tensorboard import write_scalars
from vlm_games.report_run import finish, where_to_look
from vlm_games.self_improve import self_improve
from vlm_games.training import checkpoint
from vlm_games.workbench import find_iteration

pytestmark = pytest.mark.usefixtures("quick_compiles")


@pytest.fixture(scope="module")
def served():
    """One for all tests: TensorStore asks once where its bucket is."""
    if importlib.util.find_spec("gcsfs") is None:
        pytest.skip("gcsfs is not installed")
    before = dict(os.environ)
    with fake_gcs.served() as (objects, variables):
        fake_gcs.use(variables)
        yield objects
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def objects(served):
    """What lies in the buckets; nothing yet."""
    served.found.clear()
    return served


@pytest.fixture
def quick(monkeypatch):
    """A lock lapses within a second."""
    monkeypatch.setattr(lock, "RENEW", 0.1)
    monkeypatch.setattr(lock, "STALE", 1.0)


# What is read and written -----------------------------------------------------


def test_what_others_wrote_is_seen_at_once(objects):
    folder = storage.path_of("gs://bucket/run")
    shards.write_shard(folder / "shard_00000.jsonl", [])
    assert len(shards.list_shards(folder)) == 1
    assert not (folder / "metrics.json").exists()
    for name in ("metrics.json", "shard_00001.jsonl"):  # by another host
        objects.write(f"bucket/run/{name}", b'{"a": 1}', {})
    assert len(shards.list_shards(folder)) == 2
    assert atomic.read_json(folder / "metrics.json") == {"a": 1}
    objects.delete("bucket/run/metrics.json", {})
    assert atomic.read_json(folder / "metrics.json") is None


def test_files_are_listed_over_all_pages_with_their_sizes(objects):
    for number in range(2 * fake_gcs.PAGE + 1):
        objects.write(f"bucket/run/a/{number}", b"x" * number, {})
    objects.write("bucket/run/", b"", {})  # as the console makes a folder
    objects.write("bucket/run2/b", b"", {})
    found = storage.files_in(storage.path_of("gs://bucket/run"))
    assert len(found) == 2 * fake_gcs.PAGE + 1
    assert found["a/100"].size == 100
    assert abs(found["a/100"].changed - time.time()) < 60
    storage.delete(storage.path_of("gs://bucket/run"))
    assert list(objects.found) == ["bucket/run2/b"]


def test_a_torn_file_is_set_aside_and_the_last_one_is_kept(objects):
    path = storage.path_of("gs://bucket/run/metrics.json")
    for torn in (b"{", b"{{"):
        objects.write("bucket/run/metrics.json", torn, {})
        assert atomic.read_json(path) is None
    assert {k: v[0] for k, v in objects.found.items()} == {
        "bucket/run/metrics.json.torn": b"{{"
    }


def test_a_step_draws_its_scalars_once(objects):
    for _ in range(2):
        write_scalars("gs://bucket/run/tensorboard/main", {"a": 1.0}, 3)
        time.sleep(1)  # its files are named by the second
    (name,) = objects.found
    assert name.startswith("bucket/run/tensorboard/main/events.out.tfevents.")


def test_a_bucket_that_refuses_is_told_before_all_else(objects):
    storage.check_bucket(storage.path_of("gs://bucket/run"))
    assert not objects.found
    with pytest.raises(OSError, match=r"gs://nobodys/run.*bucket exist"):
        storage.check_bucket(storage.path_of(f"gs://{fake_gcs.MISSING}/run"))


def test_a_bucket_that_refuses_later_is_told_in_words(objects):
    root = storage.path_of(f"gs://{fake_gcs.BROKEN}/run")
    told = rf"gs://{fake_gcs.BROKEN}/run cannot.*same command goes on"
    with pytest.raises(OSError, match=told), storage.client_errors(root):
        (root / "metrics.json").read_text()
    for other in (KeyError("a"), FileNotFoundError("a")):
        with pytest.raises(type(other)) as found, storage.client_errors(root):
            raise other
        assert found.value is other


def test_what_reads_buckets_is_named_if_it_is_missing(monkeypatch):
    there = dict.fromkeys(("gcsfs", "tensorflow"))
    monkeypatch.setattr(importlib.util, "find_spec", there.get)
    storage._use_gcsfs.cache_clear()
    with pytest.raises(ValueError, match=r"pip install 'vlm_games\[gcs\]'"):
        Workdir("gs://bucket/run")
    there.update(gcsfs="yes", tensorflow="yes")
    with pytest.raises(ValueError, match="EPATH_USE_TF=false"):
        Workdir("gs://bucket/run")
    monkeypatch.setenv("EPATH_USE_TF", "false")
    assert str(Workdir("gs://bucket/run/").root) == "gs://bucket/run"
    storage._use_gcsfs.cache_clear()


def test_other_addresses_and_other_uses_are_refused():
    with pytest.raises(ValueError, match="gs://<bucket>/"):
        Workdir("s3://bucket/run")
    with pytest.raises(ValueError, match="a place on this machine"):
        storage.local("--output", "gs://bucket/model")


# The lock ---------------------------------------------------------------------


def test_a_second_run_is_refused_while_the_first_lives(objects, quick):
    first = Workdir("gs://bucket/run")
    first.claim({"seed": 0})
    with pytest.raises(WorkdirError, match=r"process \d+.*lapses 1 s later"):
        Workdir("gs://bucket/run").claim({"seed": 0})
    first.release()
    assert "bucket/run/.lock" not in objects.found, "free at once"


def kill(held: lock.BucketLock) -> None:
    """As kill -9 does: it is not renewed, and not deleted."""
    held._over.set()
    held._thread.join()


def test_a_killed_runs_lock_lapses(objects, quick):
    root = storage.path_of("gs://bucket/run")
    kill(lock.take(root))
    began = time.monotonic()
    lock.take(root).release()
    assert 1 <= time.monotonic() - began < 10
    assert not objects.found


def test_of_two_that_find_a_lapsed_lock_one_takes_it(objects, quick):
    root, found = storage.path_of("gs://bucket/run"), []
    kill(lock.take(root))

    def contend():
        try:
            found.append(lock.take(root))
        except WorkdirError as error:
            found.append(error)

    threads = [threading.Thread(target=contend) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kinds = sorted(type(x).__name__ for x in found)
    assert kinds == ["BucketLock", "WorkdirError"]
    (held,) = [x for x in found if not isinstance(x, WorkdirError)]
    held.release()


def test_who_was_taken_for_dead_is_told_and_harms_nobody(objects, quick):
    root, told = storage.path_of("gs://bucket/run"), threading.Event()
    first = lock.BucketLock(root, 0.1, 1.0, lambda text: told.set())
    theirs = b'{"host": "other", "process": 1}'
    objects.write("bucket/run/.lock", theirs, {})
    assert told.wait(30)
    first.release()
    assert objects.found["bucket/run/.lock"][0] == theirs


# The loop ---------------------------------------------------------------------


@pytest.fixture
def bench(monkeypatch):
    return Bench(monkeypatch)


def complete(bench, workdir) -> dict:
    """A whole run with its report; its metrics."""
    run = bench.run(workdir)
    run.workdir.claim({"seed": 0})
    finish(run, self_improve(run), 0.0)
    run.workdir.release()
    return bench.improve(workdir)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """(workdir, metrics) of a run in a folder."""
    workdir = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        return workdir, complete(Bench(patch), workdir)


def is_small(name: str) -> bool:
    """Whether a file is the same bit for bit: no array, no seconds."""
    path = pathlib.PurePath(name)
    timed = "metrics.json", "summary.json", "report.html", ".lock"
    return not (
        {"checkpoint", "tensorboard"} & set(path.parts) or path.name in timed
    )


def assert_same(bench, folder, root):
    """Files, params and metrics of a run in a folder and of another."""
    mine, theirs = (set(storage.files_in(x)) for x in (folder, root))
    assert {"summary.json", "report.html"} < mine & theirs
    assert set(filter(is_small, mine)) == set(filter(is_small, theirs))
    for name in filter(is_small, mine):
        assert (folder / name).read_bytes() == (root / name).read_bytes(), name
    for path in sorted(folder.glob("arms/*/*/checkpoint")):
        there = root / path.relative_to(folder).as_posix()
        pairs = zip(
            jax.tree.leaves(checkpoint.load(path, bench.base)),
            jax.tree.leaves(checkpoint.load(there, bench.base)),
            strict=True,
        )
        assert all(np.array_equal(*pair) for pair in pairs)


@pytest.mark.slow
def test_a_run_in_a_bucket_is_the_run_in_a_folder(
    bench, objects, undisturbed, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert complete(bench, "gs://bucket/run") == undisturbed[1]
    root = storage.path_of("gs://bucket/run")
    assert_same(bench, undisturbed[0], root)
    assert not list(tmp_path.iterdir()), "not even a folder called gs:"
    assert len(list(root.glob("tensorboard/main/*"))) == 3
    assert "last of all arms/control/iter_002/metrics.json" in last_kept(root)
    assert find_iteration(root, "main", None).name == "iter_002"
    assert "gs://bucket/run/report.html" in where_to_look("gs://bucket/run")
    # And back, by whatever copies.
    copy = tmp_path / "copy"
    for name in storage.files_in(root):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes((root / name).read_bytes())
    assert bench.improve(copy) == undisturbed[1]
    assert not bench.bench.played


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "count"),
    [("main 1: train", STEPS), ("main 2: play", 2), ("control 2: measure", 1)],
)
def test_a_run_in_a_bucket_goes_on(what, count, bench, objects, undisturbed):
    with pytest.raises(Stopped):
        bench.improve("gs://bucket/run", stop_at(what, count))
    assert bench.improve("gs://bucket/run") == undisturbed[1]
    assert not [name for name in objects.found if ".torn" in name]
    assert not [name for name in objects.found if "/step_" in name]


def halve(objects, path: str) -> None:
    content = objects.found[path][0]
    objects.write(path, content[: len(content) // 2], {})


@pytest.mark.slow
def test_what_is_torn_in_a_bucket_is_set_aside_and_made_again(
    bench, objects, undisturbed
):
    with pytest.raises(Stopped):
        bench.improve("gs://bucket/run", stop_at("main 2: train", 1))
    arm = "bucket/run/arms/main"
    shard = f"{arm}/iter_002/dialogs/shard_00001.jsonl"
    whole = objects.found[shard][0]
    halve(objects, shard)
    halve(objects, f"{arm}/iter_001/metrics.json")
    folder = f"{arm}/iter_001/checkpoint/"
    biggest = max(
        (name for name in objects.found if name.startswith(folder)),
        key=lambda name: len(objects.found[name][0]),
    )
    halve(objects, biggest)
    assert bench.improve("gs://bucket/run") == undisturbed[1]
    assert objects.found[shard][0] == whole
    assert len(objects.found[f"{shard}.torn"][0]) < len(whole)
    assert f"{folder[:-1]}.torn/sizes.json" in objects.found


@pytest.mark.slow
def test_a_checkpoint_is_there_once_its_sizes_are(bench, objects):
    """Killed while it wrote one, a run writes it again."""
    root, made = storage.path_of("gs://bucket/run/step_1"), []
    checkpoint.save(root, bench.base)
    assert checkpoint.exists(root)
    for name in ("step_1/sizes.json", "step_1/commit_success.txt"):
        objects.delete(f"bucket/run/{name}", {})
        made.append(checkpoint.latest(root.parent))
        assert not checkpoint.exists(root)
    assert made == [None, None]
    left = set(objects.found)
    assert not [name for name in left if ".torn" in name]
    checkpoint.save(root, bench.base)
    assert checkpoint.latest(root.parent) == (1, root)
    again = checkpoint.load(root, bench.base)
    jax.tree.map(np.testing.assert_array_equal, again, bench.base)


@pytest.mark.slow
def test_a_checkpoint_loses_its_sizes_first(bench, objects, monkeypatch):
    """Killed while it deletes one, a run leaves none that looks whole."""
    root, gone = storage.path_of("gs://bucket/run/step_1"), []
    checkpoint.save(root, bench.base)
    delete = objects.delete
    monkeypatch.setattr(
        objects, "delete", lambda *x: gone.append(x[0]) or delete(*x)
    )
    checkpoint.save(root, bench.base)
    assert gone[0] == "bucket/run/step_1/sizes.json" and len(gone) > 3


@pytest.mark.slow
def test_the_viewer_reads_a_bucket(bench, objects, undisturbed, monkeypatch):
    for path in undisturbed[0].rglob("*"):
        if path.is_file():
            name = path.relative_to(undisturbed[0]).as_posix()
            objects.write(f"bucket/run/{name}", path.read_bytes(), {})
    config = json.dumps(bench.config.to_dict()).encode()
    objects.write("bucket/run/config.json", config, {})
    run = viewer.RunFolder("gs://bucket/run")
    assert [len(rows) for rows in run.figures().values()] == [3, 2]
    assert len(run.games("main", 2)) == 12
    assert len(run.checkpoints()) == 5
    assert run.progress() == {"done": 5, "of": 5, "state": "finished"}
    objects.delete("bucket/run/arms/control/iter_002/metrics.json", {})
    assert run.progress()["silent"] < 600
