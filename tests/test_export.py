"""A run's model as a directory of its base's own format."""

import pathlib
import shutil

import jax
import numpy as np
import pytest
from reference import common

from vlm_games import export, workbench
from vlm_games.hub import peft
from vlm_games.hub.pretrained import load_pretrained
from vlm_games.models.checkpoint import load_model
from vlm_games.training import checkpoint, lora

pytestmark = pytest.mark.usefixtures("quick_compiles")

LORA = {
    "rank": 2,
    "alpha": 4.0,
    "targets": ["query", "value"],
    "parts": ["decoder"],
    "draw": "uniform",
}


@pytest.fixture(scope="module")
def public(tmp_path_factory) -> pathlib.Path:
    place = tmp_path_factory.mktemp("llava")
    shutil.copytree(common.FOLDER / "llava", place, dirs_exist_ok=True)
    common.write_weights(place)
    return place


def run_config(base, rank=0) -> dict:
    return {
        "base": str(base),
        "dtype": "float32",
        "train": {"start": "last", "lora": {**LORA, "rank": rank}},
    }


def moved(params):
    return jax.tree.map(lambda x: x + 0.5, params)


def finish_iteration(workdir, params, number=1) -> pathlib.Path:
    folder = workdir / "arms" / "main" / f"iter_{number:03d}"
    checkpoint.save(folder / "checkpoint", params)
    return folder


def assert_same(found, expected):
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_a_public_model_goes_back_to_its_format(public, tmp_path):
    params = moved(load_pretrained(public, "float32").params)
    folder = finish_iteration(tmp_path / "run", params)
    export.export(folder, run_config(public), tmp_path / "out", False)
    assert_same(load_pretrained(tmp_path / "out", "float32").params, params)
    files = {p.name for p in public.iterdir()}
    assert {p.name for p in (tmp_path / "out").iterdir()} >= files - {
        "reference.npz"
    }


def test_our_own_model_goes_back_to_its_format(base_dir, tmp_path):
    config, params = load_model(base_dir)
    folder = finish_iteration(tmp_path / "run", moved(params))
    export.export(folder, run_config(""), tmp_path / "out", False)
    found_config, found = load_model(tmp_path / "out")
    assert found_config == config
    assert_same(found, moved(params))
    assert (tmp_path / "out" / "tokenizer.json").is_file()


def test_adapters_go_to_the_format_of_peft(public, tmp_path):
    vlm = load_pretrained(public, "float32")
    config = lora.LoraConfig(
        **{**LORA, "targets": ("query", "value"), "parts": ("decoder",)}
    )
    adapters = moved(lora.init(config, vlm.params, jax.random.key(0)))
    folder = finish_iteration(tmp_path / "run", vlm.params)
    checkpoint.save(folder / "training/sft/adapters", adapters)
    export.export(folder, run_config(public, 2), tmp_path / "out", True)
    found_config, found = peft.load_adapters(
        tmp_path / "out", vlm.config, vlm.family
    )
    assert found_config == config
    assert_same(found, adapters)


def test_adapters_that_do_not_fit_the_base_are_refused(public, tmp_path):
    later = tmp_path / "iter_002"
    with pytest.raises(ValueError, match="iteration before"):
        export.export(later, run_config(public, 2), tmp_path / "out", True)
    with pytest.raises(ValueError, match="trained none"):
        export.export(later, run_config(public), tmp_path / "out", True)


def test_the_last_finished_iteration_is_taken(base_dir, tmp_path):
    _, params = load_model(base_dir)
    for number in (1, 2):
        finish_iteration(tmp_path, params, number)
    (tmp_path / "arms" / "main" / "iter_003" / "training").mkdir(parents=True)
    found = workbench.find_iteration(tmp_path, "main", None)
    assert found.name == "iter_002"
    assert workbench.find_iteration(tmp_path, "main", 1).name == "iter_001"
    with pytest.raises(FileNotFoundError, match="no finished iteration 7"):
        workbench.find_iteration(tmp_path, "main", 7)


def test_a_finished_iteration_without_its_checkpoint_is_told(
    base_dir, tmp_path
):
    _, params = load_model(base_dir)
    for number in (1, 2):
        finish_iteration(tmp_path, params, number)
        (tmp_path / f"arms/main/iter_{number:03d}/metrics.json").touch()
    shutil.rmtree(tmp_path / "arms/main/iter_002/checkpoint")
    for iteration in (None, 2):
        with pytest.raises(FileNotFoundError, match="Iteration 2 .* damaged"):
            workbench.find_iteration(tmp_path, "main", iteration)
    assert workbench.find_iteration(tmp_path, "main", 1).name == "iter_001"
