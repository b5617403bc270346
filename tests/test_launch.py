"""The launchers: sound shell, what they would run, how they end."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

LAUNCH = pathlib.Path(__file__).parents[1] / "launch"
SCRIPTS = sorted([*LAUNCH.glob("*.sh"), *LAUNCH.glob("*.sbatch")])
GKE = ("--name=g", "--cluster=c", "--zone=z", "--project=p", "--dry_run")
TPU = ("--name=g", "--zone=z", "--dry_run")


def call(script: str, *arguments, **environment) -> subprocess.CompletedProcess:
    return subprocess.run(
        [LAUNCH / script, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def stub(folder: pathlib.Path, name: str, script: str) -> pathlib.Path:
    """A program of that name in `folder`, which does what `script` says."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f"#!/usr/bin/env bash\n{script}\n")
    (folder / name).chmod(0o755)
    return folder


def documented_commands() -> list[str]:
    """Lines of the documents that would do nothing, by --dry_run."""
    lines = {
        line.strip()
        for path in (LAUNCH.parent / "docs").rglob("*.md")
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.startswith("launch/") and "--dry_run" in line
    }
    assert lines
    return sorted(lines)


@pytest.mark.parametrize("command", documented_commands())
def test_a_command_of_the_documents_is_understood(command):
    script, *arguments = command.removeprefix("launch/").split()
    done = call(script, *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_every_script_passes_shellcheck():
    name = "shellcheck"
    found = shutil.which(name, path=os.path.dirname(sys.executable))
    found = found or shutil.which(name)
    if found is None:
        pytest.skip("shellcheck is missing: pip install 'vlm_games[test]'")
    done = subprocess.run(
        [found, "-x", *SCRIPTS],
        cwd=LAUNCH.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("verb", "flags", "wanted"),
    [
        ("create", ("--type=v5litepod-16", "--spot"), "tpu-vm create g"),
        ("install", (), "tpu-vm scp"),
        ("run", ("--", "--workdir=/a b"), "vlm_games.main --hosts=auto"),
        ("follow", ("--worker=3",), "--worker=3"),
        ("delete", (), "tpu-vm delete g --zone=z"),
    ],
)
def test_a_dry_run_on_a_tpu_vm_only_prints(verb, flags, wanted, tmp_path):
    path = stub(tmp_path, "gcloud", "touch $0.was_run; exit 1")
    path = f"{path}{os.pathsep}{os.environ['PATH']}"
    done = call("tpu_vm.sh", verb, *TPU, *flags, PATH=path)
    assert done.returncode == 0, done.stderr
    assert wanted in done.stdout
    assert not (tmp_path / "gcloud.was_run").exists()


def test_flags_with_blanks_reach_the_program_whole(tmp_path):
    # In place of gcloud, what the shell of a worker does with --command.
    worker = tmp_path / "worker"
    (worker / "vlm_games").mkdir(parents=True)
    stub(worker / "venv" / "bin", "python", "printf '%s\\n' \"$@\" end")
    path = stub(
        tmp_path,
        "gcloud",
        f"for a; do case $a in --command=*) cd {worker}; bash -c "
        '"${a#*=}";; esac; done',
    )
    path = f"{path}{os.pathsep}{os.environ['PATH']}"
    flags = ("--config.base=a b's", "--workdir=$x")
    done = call("tpu_vm.sh", "run", *TPU[:2], "--", *flags, PATH=path)
    assert done.returncode == 0, done.stderr
    until = time.monotonic() + 30
    while "end" not in (log := (worker / "run.log").read_text()):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert log.splitlines()[2:] == ["--hosts=auto", *flags, "end"]


@pytest.mark.parametrize(
    ("verb", "flags", "wanted"),
    [
        ("create", ("--type=v5p-128",), "xpk cluster create --tpu-type=v5p"),
        ("run", ("--type=v5p-128", "--", "--x=1"), "xpk workload create"),
        ("follow", (), "xpk workload list --filter-by-job=g"),
        ("stop", (), "xpk workload delete --workload=g"),
        ("delete", (), "xpk cluster delete --cluster=c"),
    ],
)
def test_a_dry_run_on_gke_only_prints(verb, flags, wanted):
    done = call("gke.sh", verb, *GKE, *flags)
    assert done.returncode == 0, done.stderr
    assert wanted in done.stdout


@pytest.mark.parametrize(
    ("script", "arguments", "told"),
    [
        ("tpu_vm.sh", ("create", *TPU), "create needs --type"),
        ("tpu_vm.sh", ("run", *TPU), "nothing to run"),
        ("tpu_vm.sh", ("fly", *TPU), "unknown verb fly"),
        ("tpu_vm.sh", ("run", "--nmae=g"), "unknown argument --nmae=g"),
        ("gke.sh", ("run", "--name=g"), "--cluster is missing"),
        ("local.sh", (), "give --config=FILE"),
    ],
)
def test_what_is_missing_is_told_with_the_usage(script, arguments, told):
    done = call(script, *arguments)
    assert done.returncode == 2
    assert told in done.stderr
    assert f"launch/{script}" in done.stderr


def local(tmp_path, script: str, processes: int) -> subprocess.Popen:
    stub(tmp_path / "venv" / "bin", "python", script)
    return subprocess.Popen(
        [LAUNCH / "local.sh", "--workdir=w"],
        env={
            **os.environ,
            "VENV": str(tmp_path / "venv"),
            "INSTALL": "no",
            "PROCESSES": str(processes),
        },
        stdout=subprocess.PIPE,
        text=True,
    )


def test_local_processes_are_numbered_and_know_the_first(tmp_path):
    output, _ = local(tmp_path, 'echo "$@"', 3).communicate(timeout=60)
    lines = sorted(output.splitlines())
    assert [line[:3] for line in lines] == ["[0]", "[1]", "[2]"]
    for number, line in enumerate(lines):
        assert f"--hosts=3 --host={number} --coordinator=localhost:" in line


def test_notice_to_the_local_script_is_notice_to_all(tmp_path):
    script = (
        f"trap 'kill $!; exit 75' TERM; sleep 60 & touch {tmp_path}/up.$$; wait"
    )
    process = local(tmp_path, script, 2)
    until = time.monotonic() + 30
    while len(list(tmp_path.glob("up.*"))) < 2:
        assert time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 75


@pytest.mark.parametrize(("status", "again"), [(75, True), (1, False)])
def test_slurm_requeues_a_run_that_was_given_notice(status, again, tmp_path):
    path = stub(tmp_path, "srun", f'echo "$@"; exit {status}')
    stub(tmp_path, "scontrol", 'echo "scontrol $*"')
    done = call(
        "slurm.sbatch",
        "--workdir=w",
        PATH=f"{path}{os.pathsep}{os.environ['PATH']}",
        SLURM_SUBMIT_DIR=str(tmp_path),
        SLURM_JOB_ID="17",
    )
    assert done.returncode == status
    assert "vlm_games.main --hosts=auto --workdir=w" in done.stdout
    assert ("scontrol requeue 17" in done.stdout) == again


@pytest.mark.slow
def test_the_local_script_starts_the_program_itself():
    done = call(
        "local.sh",
        "--config=configs/scenes.py",
        "--dry_run",
        "--devices=1",
        INSTALL="no",
        VENV=sys.prefix,
    )
    assert done.returncode == 0, done.stderr
    assert "FITS" in done.stdout
