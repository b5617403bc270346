"""Towers of CLIP and SigLIP give what transformers and PyTorch do."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.slow

import transformers  # noqa: E402

from vlm_games.hub.tower import load_tower  # noqa: E402

VISION = {
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "image_size": 20,
    "patch_size": 5,
}
TEXT = {
    "vocab_size": 30,
    "hidden_size": 16,
    "intermediate_size": 20,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)


def make(kind: str):
    """A random model; its biases and norms too, which fresh ones have not."""
    torch.manual_seed(0)
    if kind.endswith("vision_model"):
        config = transformers.CONFIG_MAPPING[kind](**VISION)
        model = transformers.MODEL_MAPPING[type(config)](config)
    else:
        config = transformers.CONFIG_MAPPING[kind](
            vision_config=VISION, text_config=TEXT
        )
        model = transformers.MODEL_MAPPING[type(config)](config)
    with torch.no_grad():
        for param in model.parameters():
            param.add_(0.1 * torch.randn_like(param))
    return model.eval()


@pytest.mark.parametrize(
    "kind", ["clip", "siglip", "clip_vision_model", "siglip_vision_model"]
)
def test_patch_features_are_those_of_the_reference(tmp_path, kind):
    model = make(kind)
    model.save_pretrained(tmp_path)
    processor = {"image_mean": MEAN, "image_std": STD}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    pixels = np.random.default_rng(0).integers(0, 256, (3, 20, 20, 3), np.uint8)
    normal = (pixels / 255.0 - MEAN) / STD
    given = torch.tensor(normal.transpose(0, 3, 1, 2), dtype=torch.float32)
    tower = getattr(model, "vision_model", model)
    with torch.no_grad():
        expected = tower(pixel_values=given).last_hidden_state.numpy()
    if kind.startswith("clip"):  # its class token stands first
        expected = expected[:, 1:]
    found = load_tower(str(tmp_path)).embed(pixels)
    np.testing.assert_allclose(found, expected.mean(axis=1), atol=2e-5)


def test_images_of_another_size_are_resized(tmp_path):
    model = make("siglip")
    model.save_pretrained(tmp_path)
    processor = {"image_mean": MEAN, "image_std": STD}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    tower = load_tower(str(tmp_path))
    flat = np.full((1, 9, 9, 3), 77, np.uint8)
    large = np.full((1, 20, 20, 3), 77, np.uint8)
    np.testing.assert_allclose(tower.embed(flat), tower.embed(large), atol=1e-5)


def test_another_model_is_no_tower(tmp_path):
    transformers.LlamaConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="game.embedder=.*'llama'"):
        load_tower(str(tmp_path))


def test_a_tower_without_its_processor_says_what_is_missing(tmp_path):
    make("siglip").save_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError, match="preprocessor_config.json"):
        load_tower(str(tmp_path))
