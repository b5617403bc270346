"""PEFT's directories: what it wrote we read, and it reads what we write.

`reference/make_lora.py` wrote what PEFT makes of its adapters; where it is
installed it also reads ours.
"""

import dataclasses
import json
import pkgutil
import shutil

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from reference import common, families

from vlm_games.hub import modules, peft
from vlm_games.hub.family import find_family
from vlm_games.hub.leaves import Leaf
from vlm_games.hub.pretrained import load_pretrained
from vlm_games.hub.processors import load_config
from vlm_games.training import lora

pytestmark = pytest.mark.usefixtures("quick_compiles")

WRITTEN = common.FOLDER.parent / "lora"
TOLERANCE = 1e-5  # relative error of a whole array, float32
# A shape of each family.
NAMES = sorted(
    module.name
    for module in pkgutil.iter_modules(families.__path__)
    if (common.FOLDER / module.name).is_dir()
)


def relative_error(found, expected) -> float:
    """norm(found - expected) / norm(expected)."""
    assert found.shape == expected.shape
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def flatten(tree) -> dict[str, np.ndarray]:
    return flax.traverse_util.flatten_dict(jax.device_get(tree), sep=".")


def assert_same(found, expected):
    found, expected = flatten(found), flatten(expected)
    assert found.keys() == expected.keys()
    for path, x in found.items():
        np.testing.assert_allclose(x, expected[path], rtol=1e-6, err_msg=path)


def inputs(name: str) -> list[dict[str, np.ndarray]]:
    """What the reference's processor returned for each conversation."""
    found = [{}, {}, {}]
    with np.load(common.FOLDER / name / "reference.npz") as arrays:
        for key, value in arrays.items():
            number, _, rest = key.partition(".")
            if rest.startswith("in."):
                found[int(number)][rest[3:]] = value
    return found


def load(name: str, folder):
    """The reference checkpoint `name`, written to `folder`."""
    shutil.copytree(common.FOLDER / name, folder, dirs_exist_ok=True)
    common.write_weights(folder)
    return load_pretrained(folder, "float32")


def described(name: str):
    """(family, architecture) of a reference checkpoint, without weights."""
    fields = load_config(common.FOLDER / name)
    family = find_family(fields)
    return family, family.config(fields)


def draw(config, params, seed: int = 0):
    """Adapters of which neither A nor B is zero."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(
        lambda: lora.init(config, params, jax.random.key(0))
    )
    return jax.tree.map(
        lambda x: jnp.asarray(0.15 * rng.standard_normal(x.shape), x.dtype),
        shapes,
    )


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    return load("llava", tmp_path_factory.mktemp("llava"))


@pytest.fixture
def saved(llava, tmp_path):
    """Writes adapters of the fixture `llava`; returns (config, adapters)."""

    def save(**fields):
        config = lora.LoraConfig(rank=3, alpha=7.0, **fields)
        adapters = draw(config, llava.params)
        peft.save_adapters(
            tmp_path,
            config,
            adapters,
            llava.config,
            llava.family,
            llava.stored,
        )
        return config, adapters

    return save


def rewrite(folder, change) -> None:
    """Lets `change` alter the tensors of saved adapters."""
    tensors = safetensors.numpy.load_file(folder / peft.WEIGHTS)
    change(tensors)
    safetensors.numpy.save_file(tensors, folder / peft.WEIGHTS)


# What PEFT wrote --------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(p.name for p in WRITTEN.iterdir()))
@pytest.mark.parametrize("combine", [lora.attach, lora.merge])
def test_adapters_of_peft_give_its_logits(llava, name, combine):
    config, adapters = peft.load_adapters(
        WRITTEN / name, llava.config, llava.family
    )
    params = jax.jit(combine, static_argnums=0)(config, llava.params, adapters)
    prompts = [llava.reader.prompt(found) for found in inputs("llava")]
    with_adapters = dataclasses.replace(llava, params=params)
    plain = llava.prompt_logits(prompts)
    with np.load(WRITTEN / name / "logits.npz") as expected:
        for i, found in enumerate(with_adapters.prompt_logits(prompts)):
            last = expected[str(i)]
            found = found[-len(last) :]
            assert relative_error(found, last) < TOLERANCE
            assert relative_error(plain[i][-len(last) :], last) > 0.01


def test_the_config_tells_what_peft_was_told(llava):
    config, _ = peft.load_adapters(
        WRITTEN / "language", llava.config, llava.family
    )
    assert config == lora.LoraConfig(
        rank=4, alpha=6.0, targets=("query", "value"), parts=("decoder",)
    )
    config, adapters = peft.load_adapters(
        WRITTEN / "everything", llava.config, llava.family
    )
    assert set(config.parts) == set(lora.PARTS)
    assert config.scale == pytest.approx(8 / 3**0.5)  # use_rslora
    down = adapters["decoder"]["block_0"]["mlp"]["down"]
    assert down["kernel_lora_a"].shape == (96, 5)  # rank_pattern


# What we write ----------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"parts": lora.PARTS},
        {"parts": ("vision",), "targets": ("query", "out"), "draw": "normal"},
    ],
)
def test_saved_and_loaded_adapters_are_the_same(saved, llava, tmp_path, fields):
    config, adapters = saved(**fields)
    again, found = peft.load_adapters(tmp_path, llava.config, llava.family)
    assert_same(found, adapters)
    assert (again.rank, again.alpha, again.draw) == (3, 7.0, config.draw)
    assert set(again.targets) == set(config.targets)
    assert set(again.parts) == set(config.parts)


def test_tensors_are_named_and_laid_out_as_peft_does(saved, tmp_path):
    _, adapters = saved(targets=("out",))
    tensors = safetensors.numpy.load_file(tmp_path / peft.WEIGHTS)
    name = "model.language_model.layers.1.self_attn.o_proj"
    own = adapters["decoder"]["block_1"]["attention"]["out"]
    for kind in "AB":
        found = tensors.pop(f"base_model.model.{name}.lora_{kind}.weight")
        expected = own[f"kernel_lora_{kind.lower()}"].T
        np.testing.assert_array_equal(found, expected)
    assert len(tensors) == 2  # of the other block


@pytest.mark.parametrize(
    "decoder, tower",
    [
        ("language_model.model.", "vision_tower.vision_model."),  # of hub files
        ("language_model.model.", "vision_tower."),  # as transformers 5 saves
        ("model.language_model.", "model.vision_tower.vision_model."),  # of 4
    ],
)
def test_adapters_under_other_names_are_read(
    saved, llava, tmp_path, decoder, tower
):
    _, adapters = saved(parts=("decoder", "vision"))

    def change(tensors):
        for key in list(tensors):
            moved = key.replace("model.language_model.", decoder)
            moved = moved.replace("model.vision_tower.", tower)
            tensors[moved] = tensors.pop(key)

    rewrite(tmp_path, change)
    _, found = peft.load_adapters(tmp_path, llava.config, llava.family)
    assert_same(found, adapters)


def test_the_base_is_told(llava, saved, tmp_path):
    saved()
    fields = json.loads((tmp_path / peft.CONFIG).read_text())
    assert fields["base_model_name_or_path"] == str(llava.stored.folder)
    assert (fields["r"], fields["lora_alpha"]) == (3, 7.0)


# What is no LoRA of this model ------------------------------------------------


def test_tensors_that_do_not_belong_are_named(saved, llava, tmp_path):
    saved()

    def change(tensors):
        key = "base_model.model.model.language_model.layers.{}.lora_A.weight"
        a = tensors.pop(key.format("0.mlp.up_proj"))
        tensors[key.format("0.mlp.up_proj")] = a[:, 1:].copy()
        tensors[key.format("7.mlp.up_proj")] = a
        tensors["base_model.model.lm_head.modules_to_save.weight"] = a
        del tensors[key.format("1.self_attn.q_proj")]

    rewrite(tmp_path, change)
    with pytest.raises(ValueError) as error:
        peft.load_adapters(tmp_path, llava.config, llava.family)
    for name in ("0.mlp.up_proj", "7.mlp.up_proj", "1.self_attn.q_proj"):
        assert f"model.language_model.layers.{name}" in str(error.value)
    assert "lm_head.modules_to_save" in str(error.value)
    assert "0.mlp.gate_proj" not in str(error.value)


def test_other_methods_of_peft_are_an_error(saved, llava, tmp_path):
    saved()
    path = tmp_path / peft.CONFIG
    fields = json.loads(path.read_text())
    path.write_text(json.dumps({**fields, "use_dora": True}))
    with pytest.raises(ValueError, match="use_dora=True"):
        peft.load_adapters(tmp_path, llava.config, llava.family)


def test_a_folder_without_adapters_says_what_it_lacks(llava, tmp_path):
    with pytest.raises(FileNotFoundError, match="adapter_config.json"):
        peft.load_adapters(tmp_path, llava.config, llava.family)


def test_a_map_that_is_no_linear_in_the_checkpoint_is_an_error(llava, tmp_path):
    config = lora.LoraConfig(targets=("patches",), parts=("vision",))
    adapters = draw(config, llava.params)
    with pytest.raises(ValueError, match="vision.patches"):
        peft.save_adapters(
            tmp_path,
            config,
            adapters,
            llava.config,
            llava.family,
            llava.stored,
        )


# Modules and their names ------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_short_names_tell_all_modules_of_a_family_apart(name):
    family, config = described(name)
    found = modules.find(family, config)
    paths = [path for module in found.values() for path in module.paths]
    assert len(paths) == len(set(paths))
    kernels = [path for path in family.leaves(config) if "kernel" in path]
    decoder = [k for k in kernels if k.startswith("decoder.block_")]
    assert {k.removesuffix(".kernel") for k in decoder} <= set(paths)


FUSED = modules.Module("attn.qkv", ("query", "key", "value"), 6, 4)


def fused_case(*which: str):
    rng = np.random.default_rng(0)
    flat = {}
    for name in which:
        flat[f"{name}.kernel_lora_a"] = rng.normal(size=(6, 2))
        flat[f"{name}.kernel_lora_b"] = rng.normal(size=(2, 4))
    return flat


@pytest.mark.parametrize(
    "which", [("query", "key", "value"), ("query", "value"), ("key",)]
)
def test_fused_adapters_add_what_each_adds(which):
    flat = fused_case(*which)
    a, b = modules.fuse(FUSED, flat)
    assert a.shape == (6, 6) and b.shape == (6, 12)
    for i, name in enumerate(FUSED.paths):
        expected = np.zeros((6, 4))
        if name in which:
            expected = (
                flat[f"{name}.kernel_lora_a"] @ flat[f"{name}.kernel_lora_b"]
            )
        found = (a @ b)[:, 4 * i : 4 * i + 4]
        np.testing.assert_allclose(found, expected, atol=1e-12)
    again = {}
    for name, own_a, own_b in modules.split(FUSED, a, b):
        again[f"{name}.kernel_lora_a"] = own_a
        again[f"{name}.kernel_lora_b"] = own_b
    assert again.keys() == flat.keys()
    for key, x in again.items():
        np.testing.assert_array_equal(x, flat[key])


def test_fused_adapters_of_others_are_shared_out():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(6, 3)), rng.normal(size=(3, 12))
    parts = list(modules.split(FUSED, a, b))
    assert [name for name, _, _ in parts] == list(FUSED.paths)
    found = np.concatenate([x @ y for _, x, y in parts], axis=1)
    np.testing.assert_allclose(found, a @ b)


@pytest.mark.parametrize(
    "pattern, linear",
    [
        ("o i -> i o", True),
        ("(h k) d -> d h k", True),
        ("d (h k) -> h k d", True),
        ("(k h) d -> d h k", False),
        ("d c p q -> (p q c) d", False),
        ("", False),
    ],
)
def test_linear_maps_are_told_by_their_layout(pattern, linear):
    assert modules.is_linear(Leaf("x.weight", pattern)) == linear
    assert not modules.is_linear(Leaf("x", pattern))


# Live, where PEFT and PyTorch are ---------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_peft_opens_what_we_save(name, tmp_path):
    """All modules are found, none is left over, and logits are the same."""
    torch = pytest.importorskip("torch")
    library = pytest.importorskip("peft")
    import transformers

    ours = load(name, tmp_path / "base")
    # Gemma's connector is a torch.nn.Parameter.
    parts = ("decoder", "vision") if "gemma" in name else lora.PARTS
    config = lora.LoraConfig(rank=3, alpha=7.0, parts=parts)
    adapters = draw(config, ours.params)
    where = ours.config, ours.family, ours.stored
    peft.save_adapters(tmp_path / "a", config, adapters, *where)
    theirs = transformers.AutoModelForImageTextToText.from_pretrained(
        tmp_path / "base", dtype=torch.float32
    )
    # PEFT warns of modules that the file lacks: a warning is an error here.
    theirs = library.PeftModel.from_pretrained(theirs, tmp_path / "a").eval()
    modules_of = theirs.get_model_status().num_adapter_layers
    tensors = safetensors.numpy.load_file(tmp_path / "a" / peft.WEIGHTS)
    assert 2 * modules_of == len(tensors)
    ours.params = lora.attach(config, ours.params, adapters)
    for found in inputs(name):
        arrays = {k: torch.from_numpy(x) for k, x in found.items()}
        with torch.no_grad():
            expected = theirs(**arrays).logits[0].numpy()
        prompt = ours.reader.prompt(found)
        (own,) = ours.prompt_logits([prompt])
        assert relative_error(own, expected) < TOLERANCE
