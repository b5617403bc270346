"""The soak in its short form; 200 trials and more are run by hand."""

import pathlib
import subprocess
import sys

import pytest

SOAK = pathlib.Path(__file__).parent / "soak"


@pytest.mark.slow
def test_killed_runs_end_in_the_undisturbed_result():
    done = subprocess.run(
        [sys.executable, SOAK / "kill_and_resume.py", "--trials=3"],
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "3 of 3"
