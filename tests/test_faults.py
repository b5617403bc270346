"""What a run promises when files are torn, disks are full, notice is given.

The loop is a toy's (toy.py). The whole program is killed and resumed in
test_self_improve.py and by soak/kill_and_resume.py.
"""

import gc
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
from program import ROOT
from toy import STEPS, Bench, Stopped, stop_at

from vlm_games import preemption
from vlm_games.command_line import tell
from vlm_games.data.workdir import Workdir, WorkdirError
from vlm_games.preemption import EXIT_PREEMPTED, Notice
from vlm_games.report.tensorboard import write_scalars
from vlm_games.report_run import finish
from vlm_games.self_improve import self_improve

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("quick_compiles"),
    # Locks and files of the runs that are ended here by an exception.
    pytest.mark.filterwarnings("ignore:unclosed file"),
    # And what Orbax leaves of a save that failed, when it is collected.
    pytest.mark.filterwarnings(
        "ignore::pytest.PytestUnraisableExceptionWarning"
    ),
]


@pytest.fixture(scope="module")
def patch():
    with pytest.MonkeyPatch.context() as found:
        yield found


@pytest.fixture(scope="module")
def bench(patch):
    return Bench(patch)


@pytest.fixture(scope="module")
def undisturbed(bench, tmp_path_factory):
    """(workdir, metrics) of a run that nothing happened to."""
    workdir = tmp_path_factory.mktemp("undisturbed")
    return workdir, bench.improve(workdir)


@pytest.fixture
def finished(undisturbed, tmp_path):
    """A finished run, to be spoilt."""
    return shutil.copytree(undisturbed[0], tmp_path / "run")


def halve(path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def biggest(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    return max(files, key=lambda path: path.stat().st_size)


# Torn files -------------------------------------------------------------------


def test_a_torn_shard_is_set_aside_and_played_again(
    bench, undisturbed, tmp_path
):
    with pytest.raises(Stopped):
        bench.improve(tmp_path, stop_at("main 2: train", 1))
    shard = tmp_path / "arms/main/iter_002/dialogs/shard_00001.jsonl"
    whole = shard.read_bytes()
    halve(shard)
    assert bench.improve(tmp_path) == undisturbed[1]
    assert shard.read_bytes() == whole
    assert len(shard.with_name(shard.name + ".torn").read_bytes()) < len(whole)
    assert bench.bench.played == [(2, 1), (2, 0), (2, 1)], "main's, control's"


def test_a_torn_shard_of_a_finished_iteration_is_played_again(
    bench, undisturbed, finished
):
    shard = finished / "arms/main/iter_001/dialogs/shard_00000.jsonl"
    whole = shard.read_bytes()
    halve(shard)
    assert bench.improve(finished) == undisturbed[1]
    assert shard.read_bytes() == whole
    assert bench.bench.played == [(1, 0)]


@pytest.mark.parametrize("arm", ["main", "control"])
def test_a_truncated_checkpoint_is_set_aside_and_trained_again(
    arm, bench, undisturbed, finished
):
    folder = finished / f"arms/{arm}/iter_001"
    halve(biggest(folder / "checkpoint"))
    # The next iteration begins with what is made anew.
    shutil.rmtree(finished / f"arms/{arm}/iter_002")
    assert bench.improve(finished) == undisturbed[1]
    assert (folder / "checkpoint.torn").is_dir()


def test_a_truncated_state_falls_back_on_whole_ones(
    bench, undisturbed, tmp_path
):
    with pytest.raises(Stopped):
        bench.improve(tmp_path, stop_at("main 1: train", STEPS))
    folder = tmp_path / "arms/main/iter_001/training/sft"
    (state,) = folder.glob("step_*")
    halve(biggest(state))
    assert bench.improve(tmp_path) == undisturbed[1]


def test_torn_figures_of_a_stage_are_made_again(bench, undisturbed, tmp_path):
    with pytest.raises(Stopped):
        bench.improve(tmp_path, stop_at("main 1: measure", 1))
    halve(tmp_path / "arms/main/iter_001/training/sft/figures.json")
    assert bench.improve(tmp_path) == undisturbed[1]


def test_half_written_metrics_are_measured_again(bench, undisturbed, finished):
    path = finished / "arms/main/iter_001/metrics.json"
    halve(path)
    assert bench.improve(finished) == undisturbed[1]
    assert json.loads(path.read_text())["params"]
    assert not bench.bench.played


def test_a_half_written_summary_is_written_anew(bench, finished):
    run, path = bench.run(finished), finished / "summary.json"
    results = self_improve(run)
    finish(run, results, 0.0)
    whole = path.read_bytes()
    halve(path)
    finish(run, results, 0.0)
    assert path.read_bytes() == whole


def test_a_torn_config_is_refused_by_name(tmp_path):
    Workdir(tmp_path).claim({"seed": 0})
    halve(tmp_path / "config.json")
    with pytest.raises(WorkdirError, match="config.json is not whole"):
        Workdir(tmp_path).claim({"seed": 0})


# A full disk ------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 128 KiB, and a function that gives it more room."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "none", str(folder)]
    if os.getuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here")

    def grow():
        subprocess.run(
            ["mount", "-o", "remount,size=64m", str(folder)], check=True
        )

    yield folder, grow
    gc.collect()  # here, and not within the next file's tests
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_is_told_and_the_run_goes_on_when_there_is_room(
    bench, undisturbed, small_disk
):
    folder, grow = small_disk
    with pytest.raises(OSError) as full:
        bench.improve(folder)
    assert "Make room and start the same command again" in tell(full.value)
    assert str(folder) in tell(full.value)
    grow()
    assert bench.improve(folder) == undisturbed[1]
    assert not list(folder.rglob("*.torn"))


def test_a_shard_that_finds_no_room_leaves_no_half(bench, small_disk):
    folder, _ = small_disk
    (folder / "filler").write_bytes(bytes(100 * 1024))
    with pytest.raises(OSError) as full:
        Workdir(folder).write_metrics("main", 0, {"long": "x" * 100_000})
    assert "metrics.json" in tell(full.value)
    assert not [x for x in folder.rglob("*") if "metrics" in x.name]


def test_scalars_that_find_no_room_are_an_error_and_no_wait(small_disk):
    folder, _ = small_disk
    filler = folder / "filler"
    filler.write_bytes(bytes(124 * 1024))
    with pytest.raises(OSError):
        write_scalars(folder / "tb", {f"f{i}": 1.0 for i in range(500)}, 1)


# Notice -----------------------------------------------------------------------


@pytest.fixture
def leave(monkeypatch):
    """The end of the process is an exception here."""

    def left():
        raise Stopped

    monkeypatch.setattr(preemption, "leave", left)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def notice_at(what: str, count: int):
    """A progress that is given notice when `what` is told the nth time."""
    told = []

    def progress(found, done, of):
        told.append(found)
        if told.count(what) == count and found == what:
            os.kill(os.getpid(), signal.SIGTERM)

    return progress


@pytest.mark.parametrize("step", [1, STEPS - 1])
def test_notice_while_training_saves_the_step_and_leaves(
    step, bench, undisturbed, tmp_path, leave
):
    notice = Notice()
    notice.listen()
    bench.config.train.save_every = 100
    try:
        with pytest.raises(Stopped):
            bench.improve(
                tmp_path, notice_at("main 1: train", step + 1), notice
            )
    finally:
        bench.config.train.save_every = 2
    folder = tmp_path / "arms/main/iter_001/training/sft"
    assert [path.name for path in folder.iterdir()] == [f"step_{step}"]
    assert bench.improve(tmp_path) == undisturbed[1]


def test_notice_in_the_last_step_leaves_with_the_checkpoint(
    bench, undisturbed, tmp_path, leave
):
    notice = Notice()
    notice.listen()
    with pytest.raises(Stopped):
        bench.improve(tmp_path, notice_at("main 1: train", STEPS + 1), notice)
    assert (tmp_path / "arms/main/iter_001/checkpoint/sizes.json").is_file()
    assert not (tmp_path / "arms/main/iter_001/metrics.json").exists()
    assert bench.improve(tmp_path) == undisturbed[1]


def test_notice_while_playing_leaves_at_once(bench, tmp_path, leave):
    notice = Notice()
    notice.listen()
    with pytest.raises(Stopped):
        bench.improve(tmp_path, notice_at("main 1: play", 2), notice)
    assert bench.bench.played == [(1, 0)]


def test_leaving_has_an_exit_code_of_its_own():
    program = (
        "import os, signal; from vlm_games.preemption import Notice; "
        "Notice().listen(); os.kill(os.getpid(), signal.SIGTERM)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, cwd=ROOT
    )
    assert done.returncode == EXIT_PREEMPTED
    assert b"the same command goes on from there" in done.stderr


# Others -----------------------------------------------------------------------


def test_a_second_run_in_the_same_workdir_is_refused(tmp_path):
    first = Workdir(tmp_path)
    first.claim({"seed": 0})
    with pytest.raises(WorkdirError, match="Another process is running"):
        Workdir(tmp_path).claim({"seed": 0})


def test_a_run_goes_on_with_another_number_of_devices(
    bench, undisturbed, tmp_path, patch
):
    with pytest.raises(Stopped):
        bench.improve(tmp_path, stop_at("main 1: train", 4))
    results = Bench(patch, devices=2).improve(tmp_path)
    assert len(results["main"]) == len(undisturbed[1]["main"])
    assert results["main"][0] == undisturbed[1]["main"][0]
    stages = results["main"][1]["stages"]
    assert stages["sft"]["loss"] > 0
