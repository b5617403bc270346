"""Checkpoints under the names of hub files, and of what wrote them since.

The reference checkpoints have the names that transformers 5 saves. Renamed to
those of another layout, each must load as the same params.
"""

import json
import re

import jax
import numpy as np
import pytest
import safetensors.numpy
from reference import common

from vlm_games.hub import processors, saving, weights
from vlm_games.hub.family import find_family
from vlm_games.hub.stored import SINGLE, open_weights

pytestmark = pytest.mark.usefixtures("quick_compiles")

# The tower had a module around it until transformers 5.
TOWER = (r"^vision_tower\.", "vision_tower.vision_model.")
# As modules lie in memory since transformers 4.52; trainers that save
# state_dict() write these names.
MEMORY = (
    (r"^language_model\.lm_head\.", "lm_head."),
    (r"^language_model\.model\.", "model.language_model."),
    (r"^(vision_tower|multi_modal_projector)\.", r"model.\1."),
    (r"^image_newline$", "model.image_newline"),
)
# The same, when the tower still had its module.
WRAPPED = (
    *MEMORY,
    (r"^model\.vision_tower\.", "model.vision_tower.vision_model."),
)
QWEN_MEMORY = (
    (r"^model\.", "model.language_model."),
    (r"^visual\.", "model.visual."),
)
LLAVA = {
    "hub": (
        (TOWER,),
        "vision_tower.vision_model.encoder.layers.0.mlp.fc1.bias",
    ),
    "memory": (MEMORY, "model.multi_modal_projector.linear_1.weight"),
    "wrapped": (WRAPPED, "model.language_model.layers.0.mlp.up_proj.weight"),
}
# By shape and layout: (pattern, replacement) of every change of a name, and a
# name that the layout must have.
LAYOUTS = {
    "llava": LLAVA,
    "llava_next": LLAVA,
    "llava_onevision": LLAVA,
    "qwen2_vl": {
        "hub": ((), "visual.blocks.0.attn.qkv.weight"),
        "memory": (QWEN_MEMORY, "model.visual.merger.ln_q.weight"),
    },
    "qwen2_5_vl": {
        "hub": ((), "model.layers.0.self_attn.q_proj.bias"),
        "memory": (QWEN_MEMORY, "model.language_model.norm.weight"),
    },
    "qwen3_vl": {"hub": ((), "model.visual.deepstack_merger_list.0.norm.bias")},
    "gemma3_untied": {
        "hub": (
            (TOWER,),
            "vision_tower.vision_model.embeddings.patch_embedding.bias",
        ),
        "memory": (
            MEMORY,
            "model.multi_modal_projector.mm_soft_emb_norm.weight",
        ),
        "wrapped": (WRAPPED, "lm_head.weight"),
    },
    "idefics3": {
        "hub": ((), "model.connector.modality_projection.proj.weight")
    },
    "smolvlm": {"hub": ((), "model.vision_model.post_layernorm.weight")},
}
CASES = [(shape, kind) for shape, kinds in LAYOUTS.items() for kind in kinds]


def renamed(tensors: dict, changes) -> dict:
    """The tensors under another layout's names."""
    found = {}
    for name, tensor in tensors.items():
        for pattern, replacement in changes:
            name = re.sub(pattern, replacement, name)
        found[name] = tensor
    assert len(found) == len(tensors)
    return found


def load(folder):
    """(params, stored, family, config) of a directory."""
    fields = processors.load_config(folder)
    family = find_family(fields)
    config = family.config(fields)
    stored = open_weights(folder, family)
    params = weights.load(stored, family, config, np.float32)
    return params, stored, family, config


@pytest.fixture(params=CASES, ids=" ".join)
def checkpoints(request, tmp_path):
    """A directory as transformers 5 saves it, and one of the other layout."""
    shape, kind = request.param
    changes, known = LAYOUTS[shape][kind]
    source = common.FOLDER / shape
    shapes = json.loads((source / "shapes.json").read_text())
    tensors = {k: common.draw_weight(k, s) for k, s in shapes.items()}
    others = renamed(tensors, changes)
    assert known in others
    for name, found in (("new", tensors), ("other", others)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_bytes(
            (source / "config.json").read_bytes()
        )
        safetensors.numpy.save_file(found, folder / SINGLE, {"format": "pt"})
    return tmp_path / "new", tmp_path / "other"


def test_it_loads_the_same_and_is_saved_under_its_own_names(
    checkpoints, tmp_path
):
    new, other = checkpoints
    expected = load(new)[0]
    params, stored, family, config = load(other)
    same = jax.tree.map(np.array_equal, params, expected)
    assert all(jax.tree.leaves(same))

    saving.save(tmp_path / "saved", params, stored, family, config)
    saved = safetensors.numpy.load_file(tmp_path / "saved" / SINGLE)
    original = safetensors.numpy.load_file(other / SINGLE)
    assert saved.keys() == original.keys()
    assert all(np.array_equal(saved[k], original[k]) for k in saved)
