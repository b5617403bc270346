"""What a stranger's checkpoint or dataset names is refused by name."""

import json
import sys

import numpy as np
import pytest
import safetensors.numpy
from conftest import lively_params, tiny_config

from vlm_games.data import tfds_source
from vlm_games.hub import stored
from vlm_games.models.checkpoint import load_model, save_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    save_model(str(folder), tiny_config(), lively_params(tiny_config()))
    return folder


def spoilt(model, tmp_path, **changes):
    """A copy of the model whose config.json has other fields."""
    fields = json.loads((model / "config.json").read_text())
    for path, value in changes.items():
        holder, names = fields, path.split("__")
        for name in names[:-1]:
            holder = holder[name]
        holder[names[-1]] = value
    (tmp_path / "config.json").write_text(json.dumps(fields))
    (tmp_path / "model.safetensors").symlink_to(model / "model.safetensors")
    return tmp_path


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"decoder__depth": 10**9}, "1000000001 blocks"),
        ({"decoder__depth": "2"}, "TransformerConfig.depth: expected"),
        ({"decoder__heads": -4}, "TransformerConfig.heads: expected"),
        ({"decoder__kv_heads": 0}, "kv_heads=0"),
        ({"vision": []}, "VLMConfig.vision: expected"),
        ({"vision__patch_size": 0}, "cannot be laid out"),
        ({"decoder__width": 64}, "weights of another model"),
    ],
)
def test_a_config_that_describes_no_model_is_refused(
    changes, told, model, tmp_path
):
    with pytest.raises(ValueError, match=told):
        load_model(str(spoilt(model, tmp_path, **changes)))


def test_weights_that_are_no_safetensors_are_never_unpickled(model, tmp_path):
    folder = spoilt(model, tmp_path)
    weights = folder / "model.safetensors"
    weights.unlink()
    # A pickle that would call print.
    weights.write_bytes(b"cbuiltins\nprint\n(S'run'\ntR.")
    with pytest.raises(ValueError, match="no safetensors file"):
        load_model(str(folder))


@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/passwd", "a/b", 3])
def test_an_index_that_names_files_elsewhere_is_refused(name, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    array = {"a": np.zeros(2, np.float32)}
    safetensors.numpy.save_file(array, tmp_path / "x.safetensors")
    index = {"weight_map": {"a": name}}
    (folder / stored.INDEX).write_text(json.dumps(index))
    with pytest.raises(ValueError, match="only files beside it are read"):
        stored.open_weights(folder, None)


def dataset(tmp_path, feature: str):
    """A prepared dataset whose only feature is of this class."""
    folder = tmp_path / "photos" / "1.0.0"
    folder.mkdir(parents=True)
    features = {
        "pythonClassName": "tensorflow_datasets.core.features.FeaturesDict",
        "featuresDict": {"features": {"type": {"pythonClassName": feature}}},
    }
    (folder / "features.json").write_text(json.dumps(features))
    return tmp_path


def test_a_dataset_cannot_have_its_code_imported(tmp_path, monkeypatch):
    (tmp_path / "strange_code.py").write_text("raise SystemExit('run')")
    monkeypatch.syspath_prepend(tmp_path)
    folder = dataset(tmp_path, "strange_code.Feature")
    with pytest.raises(ValueError, match="'strange_code.Feature', whose"):
        tfds_source.TfdsSource("photos", "train", 8, data_dir=folder)
    assert "strange_code" not in sys.modules


@pytest.mark.parametrize("name", ["../photos", "photos/../../x", ".."])
def test_a_dataset_outside_of_its_folder_is_refused(name, tmp_path):
    with pytest.raises(ValueError, match="is not a folder of"):
        tfds_source.TfdsSource(name, "train", 8, data_dir=tmp_path)


def test_a_dataset_that_names_files_elsewhere_is_refused(tmp_path):
    class Split:
        filepaths = (tmp_path / "data" / ".." / "x.array_record",)

    class Builder:
        class info:
            full_name = "photos/1.0.0"
            splits = {"train": Split}

    with pytest.raises(ValueError, match="lies outside"):
        tfds_source._refuse_outside(Builder, str(tmp_path / "data"))
