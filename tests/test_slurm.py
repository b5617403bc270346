"""launch/slurm.sbatch on a Slurm of one node, where Slurm is installed.

On Debian: apt-get install --no-install-recommends slurm-wlm; as root.
"""

import os
import shutil
import socket
import subprocess
import time

import pytest
from test_launch import LAUNCH, stub

SERVERS = ("slurmctld", "slurmd")
CONF = """\
ClusterName=one
SlurmctldHost={host}
AuthType=auth/none
CredType=cred/none
AuthInfo=cred_expire=5
SlurmUser=root
SlurmdUser=root
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd.log
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SchedulerParameters=sched_interval=1,bf_interval=1
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
NodeName={host} CPUs=2 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""
# Each task tells what it was given. At first it waits for a notice; begun
# again, it is done.
TASK = """\
echo "task $SLURM_PROCID of $SLURM_NTASKS: $*"
if [[ ${SLURM_RESTART_COUNT:-0} -gt 0 ]]; then echo again; exit 0; fi
trap 'kill $!; exit 75' TERM
sleep 60 & touch "up.$SLURM_PROCID"; wait
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        os.geteuid() != 0 or not all(map(shutil.which, SERVERS)),
        reason="needs Slurm's servers and root to start them",
    ),
]


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Runs a command of Slurm in a folder that is a cluster of one node."""
    host = socket.gethostname().partition(".")[0]
    conf = tmp_path / "slurm.conf"
    conf.write_text(CONF.format(host=host, root=tmp_path, ports=free_ports(2)))
    monkeypatch.setenv("SLURM_CONF", str(conf))
    for folder in ("state", "spool"):
        (tmp_path / folder).mkdir()

    def run(*command: str) -> str:
        return subprocess.run(
            command,
            cwd=tmp_path,
            env={**os.environ, "VENV": "venv"},
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        ).stdout

    run("slurmctld", "-c")
    run("slurmd")
    yield run
    run("scancel", "-u", "root")
    for name in SERVERS:
        pid = tmp_path / f"{name}.pid"
        if pid.exists():
            os.kill(int(pid.read_text()), 15)


def wait_for(true, seconds: float = 180) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.2)


def test_a_job_that_is_given_notice_is_queued_again(call, tmp_path):
    stub(tmp_path / "venv" / "bin", "python", TASK)
    wait_for(lambda: "idle" in call("sinfo", "-h", "-o", "%T"))
    call(
        "sbatch",
        *("--ntasks-per-node=2", "--gpus-per-node=0", "--cpus-per-task=1"),
        str(LAUNCH / "slurm.sbatch"),
        "--workdir=w",
    )
    wait_for(lambda: len(list(tmp_path.glob("up.*"))) == 2)
    (job,) = call("squeue", "-h", "-o", "%i").split()
    call("scancel", "--signal=TERM", job)
    (log,) = tmp_path.glob("vlm_games_*.log")
    wait_for(lambda: log.read_text().count("again") == 2)
    given = "-m vlm_games.main --hosts=auto --workdir=w"
    for number in range(2):
        line = f"task {number} of 2: {given}\n"
        assert log.read_text().count(line) == 2
    wait_for(lambda: "COMPLETED" in call("scontrol", "show", "job", job))
