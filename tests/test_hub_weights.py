"""Weights between files and params: layouts, errors, devices, saving."""

import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from reference import common

from vlm_games.hub import processors, saving, weights
from vlm_games.hub.family import find_family
from vlm_games.hub.stored import INDEX, SINGLE, open_weights
from vlm_games.models.vlm import init_params

pytestmark = pytest.mark.usefixtures("quick_compiles")

NORM = "language_model.model.norm.weight"


@pytest.fixture
def folder(tmp_path):
    """A checkpoint of one file: config and weights."""
    source, folder = common.FOLDER / "llava", tmp_path / "checkpoint"
    folder.mkdir()
    for name in ("config.json", "shapes.json"):
        (folder / name).write_bytes((source / name).read_bytes())
    common.write_weights(folder)
    return folder


def read_tensors(folder) -> dict[str, np.ndarray]:
    return safetensors.numpy.load_file(folder / SINGLE)


def write_tensors(folder, tensors, name=SINGLE) -> None:
    safetensors.numpy.save_file(tensors, folder / name, {"format": "pt"})


def write_shards(folder, count: int) -> None:
    """Puts `count` shards and an index in the place of the one file."""
    tensors, placed = read_tensors(folder), {}
    for i in range(count):
        name = f"model-{i + 1:05d}-of-{count:05d}.safetensors"
        part = {k: tensors[k] for k in sorted(tensors)[i::count]}
        write_tensors(folder, part, name)
        placed |= dict.fromkeys(part, name)
    (folder / INDEX).write_text(json.dumps({"weight_map": placed}))
    (folder / SINGLE).unlink()


def read_all(folder):
    """(stored, family, config) of a directory."""
    fields = processors.load_config(folder)
    family = find_family(fields)
    return open_weights(folder, family), family, family.config(fields)


def load(folder, dtype=np.float32, sharding=None):
    return weights.load(*read_all(folder), jnp.dtype(dtype), sharding)


def assert_same(found, expected) -> None:
    same = jax.tree.map(np.array_equal, found, expected)
    assert all(jax.tree.leaves(same))


# Reading ----------------------------------------------------------------------


def test_every_param_is_read(folder):
    _, _, config = read_all(folder)
    expected = jax.eval_shape(lambda: init_params(config, jax.random.key(0)))
    params = load(folder)
    shapes = jax.tree.map(lambda x: (x.shape, x.dtype), params)
    assert shapes == jax.tree.map(lambda x: (x.shape, x.dtype), expected)


def test_shards_with_an_index_load_as_one_file(folder):
    expected = load(folder)
    write_shards(folder, 3)
    assert_same(load(folder), expected)


@pytest.mark.parametrize("stored", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("wanted", ["float32", "bfloat16"])
def test_params_are_cast_on_the_way(folder, stored, wanted):
    stored, wanted = jnp.dtype(stored), jnp.dtype(wanted)
    tensors = {k: x.astype(stored) for k, x in read_tensors(folder).items()}
    write_tensors(folder, tensors)
    params = load(folder, wanted)
    assert {x.dtype for x in jax.tree.leaves(params)} == {wanted}
    embedding = tensors["language_model.model.embed_tokens.weight"]
    found = params["embed"]["embedding"]
    assert np.array_equal(found, embedding.astype(wanted))


def test_params_do_not_live_in_the_file(tmp_path):
    """A file that is written anew while its model is in use changes nothing."""
    path = tmp_path / "tensor"
    path.write_bytes(np.ones(1 << 16, np.float32).tobytes())
    mapped = np.memmap(path, np.float32, "r")  # aligned as JAX likes it
    found = weights.put(mapped, np.float32, None)
    with open(path, "r+b") as file:
        file.write(np.zeros(1 << 16, np.float32).tobytes())
    assert mapped.max() == 0  # the mapping saw it
    assert found.min() == 1


# Errors -----------------------------------------------------------------------


def test_a_missing_tensor_is_named(folder):
    tensors = read_tensors(folder)
    del tensors[NORM]
    write_tensors(folder, tensors)
    with pytest.raises(ValueError, match=rf"missing {NORM} \(48,\)"):
        load(folder)


def test_a_surplus_tensor_is_named(folder):
    surplus = {"language_model.model.layers.9.extra": np.ones(3, np.float32)}
    write_tensors(folder, read_tensors(folder) | surplus)
    match = r"surplus language_model\.model\.layers\.9\.extra \(3,\)"
    with pytest.raises(ValueError, match=match):
        load(folder)


def test_a_mis_shaped_tensor_is_named_with_both_shapes(folder):
    wrong = {NORM: np.ones((4, 12), np.float32)}
    write_tensors(folder, read_tensors(folder) | wrong)
    match = rf"{NORM} has shape \(4, 12\), expected \(48,\)"
    with pytest.raises(ValueError, match=match):
        load(folder)


def test_an_error_names_tensors_as_the_file_does(folder):
    hub = "vision_tower.vision_model.pre_layrnorm.weight"
    tensors = read_tensors(folder)
    del tensors["vision_tower.pre_layrnorm.weight"]
    write_tensors(folder, tensors | {hub: np.ones(5, np.float32)})
    with pytest.raises(ValueError, match=rf"{hub} has shape \(5,\)"):
        load(folder)


def test_one_tensor_under_two_names_is_refused(folder):
    tensors = read_tensors(folder)
    old = "vision_tower.vision_model.pre_layrnorm.weight"
    new = "vision_tower.pre_layrnorm.weight"
    write_tensors(folder, tensors | {old: tensors[new]})
    with pytest.raises(ValueError, match="one tensor twice") as caught:
        load(folder)
    assert old in str(caught.value) and new in str(caught.value)


def test_a_missing_shard_is_named(folder):
    write_shards(folder, 3)
    (folder / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="model-00002-of-00003"):
        load(folder)


def test_weights_that_can_run_code_are_not_read(folder):
    (folder / SINGLE).rename(folder / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match="can run code"):
        load(folder)


def test_a_file_cut_short_is_named(folder):
    os.truncate(folder / SINGLE, (folder / SINGLE).stat().st_size - 8)
    with pytest.raises(ValueError, match=rf"{SINGLE} is damaged"):
        load(folder)


@pytest.mark.parametrize(
    ("kind", "match"),
    [
        ("paligemma", "model_type='paligemma'; supported are .*gemma3.*llava"),
        ("no_such_kind", "'no_such_kind', which transformers does not know"),
        (None, "model_type=None"),
    ],
)
def test_another_model_type_is_refused(folder, kind, match):
    (folder / "config.json").write_text(json.dumps({"model_type": kind}))
    with pytest.raises(ValueError, match=match):
        read_all(folder)


# Devices ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def mesh():
    return jax.make_mesh((4, 2), ("data", "model"))


def test_params_go_to_one_sharding(folder, mesh):
    everywhere = NamedSharding(mesh, P())
    params = load(folder, sharding=everywhere)
    assert all(x.sharding == everywhere for x in jax.tree.leaves(params))
    assert_same(params, load(folder))


def test_each_param_goes_to_its_own_shards(folder, mesh):
    up = "decoder.block_1.mlp.up.kernel"

    def sharding(path, shape):
        columns = path.endswith("up.kernel")
        return NamedSharding(mesh, P(None, "model") if columns else P())

    params = load(folder, sharding=sharding)
    found = params["decoder"]["block_1"]["mlp"]["up"]["kernel"]
    assert found.sharding == sharding(up, found.shape)
    assert found.addressable_shards[0].data.shape == (48, 48)
    assert_same(params, load(folder))


class Watched:
    """An array that notes what is read of it."""

    def __init__(self, array):
        self.array, self.shape, self.read = array, array.shape, []

    def __getitem__(self, index):
        self.read.append(self.array[index].size)
        return self.array[index]


def test_a_shard_is_read_once_for_all_devices_that_hold_it(mesh):
    """Eight devices, two shards: the host never holds the array four times."""
    watched = Watched(np.arange(64, dtype=np.float32).reshape(8, 8))
    found = weights.put(watched, np.float32, NamedSharding(mesh, P("model")))
    assert watched.read == [32, 32]
    assert np.array_equal(found, watched.array)


# Saving -----------------------------------------------------------------------


def save(folder, output):
    """Loads and saves; returns the params."""
    stored, family, config = read_all(folder)
    params = weights.load(stored, family, config, np.float32)
    saving.save(output, params, stored, family, config)
    return params


def test_saved_in_shards_it_reads_back_the_same(folder, tmp_path, monkeypatch):
    output, limit = tmp_path / "saved", 40_000
    monkeypatch.setattr(saving, "SHARD_BYTES", limit)
    params = save(folder, output)
    (output / "config.json").write_bytes((folder / "config.json").read_bytes())
    assert_same(load(output), params)

    original = read_tensors(folder)
    index = json.loads((output / INDEX).read_text())
    placed = index["weight_map"]
    total = sum(x.nbytes for x in original.values())
    assert index["metadata"]["total_size"] == total
    files = sorted(set(placed.values()))
    count = len(files)
    assert count > 2
    assert files == [
        f"model-{i:05d}-of-{count:05d}.safetensors" for i in range(1, count + 1)
    ]
    assert sorted(p.name for p in output.glob("*.safetensors")) == files
    for name in files:
        found = safetensors.numpy.load_file(output / name)
        assert set(found) == {k for k, v in placed.items() if v == name}
        size = sum(x.nbytes for x in found.values())
        assert size <= limit or len(found) == 1
        assert all(np.array_equal(x, original[k]) for k, x in found.items())


def test_a_save_replaces_one_of_another_number_of_files(
    folder, tmp_path, monkeypatch
):
    """What reads the directory must not find the weights of before."""
    output = tmp_path / "saved"
    save(folder, output)
    assert (output / SINGLE).is_file()
    monkeypatch.setattr(saving, "SHARD_BYTES", 40_000)
    save(folder, output)
    assert (output / INDEX).is_file() and not (output / SINGLE).exists()
    monkeypatch.undo()
    save(folder, output)
    assert (output / SINGLE).is_file() and not (output / INDEX).exists()


def test_tensors_that_take_no_part_are_saved_as_they_were(folder, tmp_path):
    save(folder, tmp_path / "saved")
    unused = "vision_tower.post_layernorm.weight"
    assert np.array_equal(
        read_tensors(tmp_path / "saved")[unused], read_tensors(folder)[unused]
    )
