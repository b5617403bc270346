"""One shape per family beside transformers and PyTorch, live, both ways.

Skipped where the extra `reference` is not installed; `test_families.py` then
compares with what was committed. This one also sees what a committed file
cannot: that our output opens there, and how far bfloat16 goes astray there. The
figures: `python -m pytest tests/test_live.py --junitxml=/tmp/live.xml -o
junit_family=xunit1`.
"""

import dataclasses
import json

import jax
import numpy as np
import pytest
from reference import common

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.slow

import transformers  # noqa: E402
from reference import make  # noqa: E402

from vlm_games.hub.family import known_families  # noqa: E402
from vlm_games.hub.pretrained import load_pretrained  # noqa: E402

NAMES = (
    "gemma3",
    "idefics3",
    "llava",
    "llava_next",
    "llava_onevision",
    "qwen2_5_vl",
    "qwen2_vl",
    "qwen3_vl",
    "smolvlm",
)
TOLERANCE = 1e-5  # relative error, float32
BF16_RATIO = 1.5  # our error in bfloat16, over the reference's own


@dataclasses.dataclass(frozen=True)
class Case:
    """A checkpoint that the reference just saved, and its logits."""

    folder: object
    inputs: list
    logits: list
    bfloat16_logits: list


def reference_logits(model, inputs) -> list[np.ndarray]:
    """float32 [tokens, vocabulary] of every conversation."""
    result = []
    for found in inputs:
        tensors = {k: torch.from_numpy(np.asarray(v)) for k, v in found.items()}
        if "pixel_values" in tensors:
            pixels = tensors["pixel_values"].to(model.dtype)
            tensors["pixel_values"] = pixels
        with torch.no_grad():
            result.append(model(**tensors).logits[0].float().numpy())
    return result


def relative_error(found, expected) -> float:
    """norm(found - expected) / norm(expected), all conversations together."""
    pairs = list(zip(found, expected, strict=True))
    assert all(a.shape == b.shape for a, b in pairs)
    wrong = sum(np.sum((a - b) ** 2, dtype=np.float64) for a, b in pairs)
    whole = sum(np.sum(b**2, dtype=np.float64) for _, b in pairs)
    return float(np.sqrt(wrong / whole))


@pytest.fixture(scope="module", params=NAMES)
def case(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    config, processor = make.shapes()[request.param]()
    model = make.save(config, processor, folder)
    inputs = make.inputs(processor)
    logits = reference_logits(model, inputs)
    return Case(
        folder, inputs, logits, reference_logits(model.bfloat16(), inputs)
    )


def our_logits(vlm, case) -> list[np.ndarray]:
    prompts = [vlm.reader.prompt(found) for found in case.inputs]
    return vlm.prompt_logits(prompts)


def test_every_kind_of_model_is_here():
    """One that is added without its live comparison is noticed."""
    compared = set()
    for name in NAMES:
        fields = json.loads((common.FOLDER / name / "config.json").read_text())
        compared.add(fields["model_type"])
    assert compared == set(known_families())


def test_float32(case, record_property):
    vlm = load_pretrained(case.folder, "float32")
    error = relative_error(our_logits(vlm, case), case.logits)
    record_property("float32", error)
    assert error < TOLERANCE


def test_the_reference_opens_what_we_save(case, tmp_path, record_property):
    """A model that has changed: what is there would not pass for it."""
    vlm = load_pretrained(case.folder, "float32")
    vlm.params = jax.tree.map(lambda x: x * np.float32(0.9), vlm.params)
    ours = our_logits(vlm, case)
    assert relative_error(ours, case.logits) > 1e-2
    vlm.save_pretrained(tmp_path)
    model, told = transformers.AutoModelForImageTextToText.from_pretrained(
        tmp_path, dtype=torch.float32, output_loading_info=True
    )
    assert not any(told.values()), told
    error = relative_error(ours, reference_logits(model.eval(), case.inputs))
    record_property("saved", error)
    assert error < TOLERANCE


def test_bfloat16_is_as_near_as_the_references_own(case, record_property):
    theirs = relative_error(case.bfloat16_logits, case.logits)
    vlm = load_pretrained(case.folder, "bfloat16")
    ours = relative_error(our_logits(vlm, case), case.logits)
    record_property("bfloat16", ours)
    record_property("bfloat16 of the reference", theirs)
    assert ours <= BF16_RATIO * theirs
