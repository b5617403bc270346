"""Qwen-VL: its two layouts of names, its positions, its configs on the hub."""

import json
import shutil

import jax
import numpy as np
import pytest
import safetensors.numpy
from reference import common

from vlm_games.hub import processors, reading, stored, weights
from vlm_games.hub.family import find_family

HUB_2B = {  # Qwen2-VL-2B-Instruct's config.json: the decoder's fields lie flat
    "model_type": "qwen2_vl",
    "hidden_act": "silu",
    "hidden_size": 1536,
    "image_token_id": 151655,
    "intermediate_size": 8960,
    "max_window_layers": 28,
    "num_attention_heads": 12,
    "num_hidden_layers": 28,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-6,
    "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
    "rope_theta": 1e6,
    "sliding_window": 32768,
    "tie_word_embeddings": True,
    "use_sliding_window": False,
    "vision_config": {
        "depth": 32,
        "embed_dim": 1280,
        "hidden_size": 1536,
        "mlp_ratio": 4,
        "model_type": "qwen2_vl",
        "num_heads": 16,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    },
    "vocab_size": 151936,
}


def read_config(folder):
    """(family, config) of a directory."""
    fields = processors.load_config(folder)
    family = find_family(fields)
    return family, family.config(fields)


@pytest.mark.parametrize("shape", ["qwen2_vl", "qwen2_5_vl"])
def test_names_of_transformers_5_load_as_those_of_the_hub(shape, tmp_path):
    shutil.copytree(common.FOLDER / shape, tmp_path, dirs_exist_ok=True)
    common.write_weights(tmp_path)
    file = tmp_path / stored.SINGLE
    hub = safetensors.numpy.load_file(file)
    native = {}
    for name, tensor in hub.items():
        if name.startswith("visual."):
            name = f"model.{name}"
        elif name.startswith("model."):
            name = name.replace("model.", "model.language_model.", 1)
        native[name] = tensor
    assert len(set(native) - set(hub)) == len(hub) - 1  # all but the head

    def load():
        family, config = read_config(tmp_path)
        found = stored.open_weights(tmp_path, family)
        return weights.load(found, family, config, np.float32)

    expected = load()
    safetensors.numpy.save_file(native, file)
    same = jax.tree.map(np.array_equal, load(), expected)
    assert all(jax.tree.leaves(same))


def test_the_config_of_the_hub_gives_its_number_of_params(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(HUB_2B))
    family, config = read_config(tmp_path)
    shapes = weights.abstract_params(config)
    assert set(family.leaves(config)) == set(shapes)
    assert sum(x.size for x in shapes.values()) == 2_208_985_600
    assert config.decoder.rope.sections == (16, 24, 24)
    assert config.decoder.window == 0


def test_an_image_takes_as_many_positions_as_its_longer_side():
    """Time, row and column; two words, 2 x 3 image tokens, a word."""
    _, config = read_config(common.FOLDER / "qwen2_vl")
    image = type("Grid", (), {"grid": (2, 3)})
    here = np.array([False, False] + [True] * 6 + [False])
    positions = reading.count_positions(config, here, [image])
    rows, columns = [2, 2, 2, 3, 3, 3], [2, 3, 4, 2, 3, 4]
    assert positions[:2].tolist() == [[0, 0, 0], [1, 1, 1]]
    assert positions[2:8].T.tolist() == [[2] * 6, rows, columns]
    assert positions[8].tolist() == [5, 5, 5]
