"""Public families against transformers: the same weights, the same numbers.

`reference/make.py` wrote what PyTorch computes; where PyTorch is installed
the comparison is also made live (`test_live.py`).
"""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from reference import common

from vlm_games.hub import pictures
from vlm_games.hub.pretrained import load_pretrained

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_compiles")]

NAMES = sorted(p.name for p in common.FOLDER.iterdir())
TOLERANCE = 1e-5  # relative error of a whole array, float32


def relative_error(found, expected) -> float:
    """norm(found - expected) / norm(expected)."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@dataclasses.dataclass(frozen=True)
class Case:
    """A reference checkpoint, loaded, and what the reference made of it."""

    vlm: object
    folder: object
    inputs: list
    expected: list


@pytest.fixture(scope="module", params=NAMES)
def case(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    shutil.copytree(common.FOLDER / request.param, folder, dirs_exist_ok=True)
    common.write_weights(folder)
    inputs, expected = [{}, {}, {}], [{}, {}, {}]
    with np.load(folder / "reference.npz") as arrays:
        for key, value in arrays.items():
            number, _, name = key.partition(".")
            if name.startswith("in."):
                inputs[int(number)][name[3:]] = value
            else:
                expected[int(number)][name] = value
    return Case(load_pretrained(folder, "float32"), folder, inputs, expected)


@pytest.fixture
def prompts(case):
    """As the reference's processor read them: Pillow's versions differ."""
    return [case.vlm.reader.prompt(found) for found in case.inputs]


def test_logits_of_a_ragged_batch(case, prompts, record_property):
    for found, expected in zip(
        case.vlm.prompt_logits(prompts), case.expected, strict=True
    ):
        error = relative_error(found, expected["logits"])
        record_property("logits", error)
        assert error < TOLERANCE


def test_vision_tower(case, prompts, record_property):
    depth = case.vlm.config.vision.encoder.depth
    class_token = case.vlm.config.vision.class_token
    for prompt, expected in zip(prompts, case.expected, strict=True):
        if not prompt.pictures:
            continue
        block = expected[f"block_{depth - 1}"]
        if block.ndim == 3:
            block = np.concatenate(list(block[:, int(class_token) :]))
        found = case.vlm.image_features([prompt])
        # Ours stand in folded order; so do those of Qwen, window by window.
        order = pictures.by_window(prompt.pictures)
        if not case.vlm.family.folded:
            order = pictures.raster(prompt.pictures)
        error = relative_error(found[order], block)
        record_property("vision", error)
        assert error < TOLERANCE


def test_greedy_tokens(case, prompts):
    said = case.vlm.generate_ids(prompts, 64)
    for found, expected in zip(said, case.expected, strict=True):
        whole = expected["greedy"].tolist()
        stop = case.vlm.stop_ids()
        end = next((i for i, t in enumerate(whole) if t in stop), len(whole))
        assert found == whole[:end]


def test_the_processor_gives_the_same_tokens(case):
    conversations = common.conversations()
    for messages, expected in zip(conversations, case.inputs, strict=True):
        prompt = case.vlm.reader.read(messages)
        assert prompt.tokens.tolist() == expected["input_ids"][0].tolist()


def test_saved_and_loaded_it_is_the_same(case, prompts, tmp_path):
    case.vlm.save_pretrained(tmp_path)
    again = load_pretrained(tmp_path, "float32")
    same = jax.tree.map(np.array_equal, again.params, case.vlm.params)
    assert all(jax.tree.leaves(same))
    shapes = json.loads((case.folder / "shapes.json").read_text())
    assert {
        again.stored.names[n]: list(again.stored.shape(n))
        for n in again.stored.names
    } == shapes
