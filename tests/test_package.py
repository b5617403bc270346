"""What is built of the repository, and what it has to do by itself."""

import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
# In the place of an editable installation, from a folder that has no configs.
PROGRAM = """
import vlm_games
from vlm_games import command_line as c
from vlm_games.planning.dry_run import dry_run
from vlm_games.planning.plan import Device
print(vlm_games.__file__, c.find_config("configs/scenes.py"))
print(c.load_config("llava").base)
print(dry_run(c.load_config("scenes"), Device(1), c.own_configs())[0])
"""


def call(*command, cwd, **env) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        env=env or None,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_wheel_of_the_sdist_knows_the_default_run_in_any_folder(tmp_path):
    source = tmp_path / "source"
    ignored = shutil.ignore_patterns(".git", "*.egg-info", "reference", "site")
    shutil.copytree(ROOT, source, ignore=ignored)
    build = "from setuptools import build_meta as b; print(b.build_sdist('..'))"
    name = call(sys.executable, "-c", build, cwd=source).split()[-1]
    call("tar", "-xf", name, cwd=tmp_path)
    unpacked = tmp_path / name.removesuffix(".tar.gz")
    for there in ("CHANGELOG.md", "docs/pictures/robot.jpg", "launch/gke.sh"):
        assert (unpacked / there).is_file()
    lib, alone = tmp_path / "lib", ("--no-deps", "--no-build-isolation", "-q")
    pip = (sys.executable, "-m", "pip", "install", *alone)
    call(*pip, f"--target={lib}", unpacked, cwd=tmp_path)
    package = lib / "vlm_games"
    for there in ("py.typed", "report/report.css", "viewing/view.js"):
        assert (package / there).is_file()
    env = {"PYTHONPATH": str(lib), "PATH": "", "JAX_PLATFORMS": "cpu"}
    told = call(sys.executable, "-c", PROGRAM, cwd=tmp_path, **env)
    places, base, run = told.split("\n", 2)
    assert places == f"{package}/__init__.py {package}/configs/scenes.py"
    assert base == "llava-hf/llava-1.5-7b-hf"
    assert run.startswith("the shipped base") and "FITS" in run
