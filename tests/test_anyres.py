"""Tiles of an image, at the sizes of public checkpoints."""

import dataclasses

import numpy as np
import pytest
import transformers

from vlm_games.hub import anyres
from vlm_games.hub.families import llava_next, llava_onevision
from vlm_games.hub.family import NEWLINE
from vlm_games.models.config import (
    ConnectorConfig,
    TransformerConfig,
    VisionConfig,
    VLMConfig,
)

SIZES = [(480, 640), (1024, 683), (336, 1008), (37, 1200), (1700, 90), (50, 50)]


@dataclasses.dataclass(frozen=True)
class Pinpoints:
    """All that a processor asks its image processor when it counts."""

    image_grid_pinpoints: list


def counted(kind, size, side: int, config, **fields) -> int:
    """How many tokens the reference's processor makes of an image."""
    processor = kind.__new__(kind)
    processor.image_processor = Pinpoints(config.image_grid_pinpoints)
    processor.num_additional_image_tokens = 0
    for name, value in fields.items():
        setattr(processor, name, value)
    return processor._get_number_of_features(*size, side, side)


def ours(size, side: int, patch: int, config, most=None):
    """Our tokens of the same image."""
    best = anyres.best_resolution(size, config.image_grid_pinpoints)
    grid = best[0] // side, best[1] // side
    return anyres.tokens_of_tiles(size, grid, side // patch, most)


@pytest.mark.parametrize("size", SIZES)
def test_llava_next_has_as_many_tokens_as_its_processor_says(size):
    config = transformers.LlavaNextConfig()
    tokens, _ = ours(size, 336, 14, config)
    kind = transformers.LlavaNextProcessor
    assert len(tokens) == counted(kind, size, 336, config, patch_size=14)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("most", [2, 9])
def test_onevision_has_as_many_tokens_as_its_processor_says(size, most):
    config = transformers.LlavaOnevisionConfig()
    tokens, shares = ours(size, 384, 14, config, most)
    kind = transformers.LlavaOnevisionProcessor
    assert len(tokens) == counted(
        kind,
        size,
        384,
        config,
        num_image_tokens=27**2,
        vision_aspect_ratio=f"anyres_max_{most}",
    )
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-6)


def test_padding_is_dropped_and_rows_end_in_newlines():
    tokens, _ = anyres.tokens_of_tiles((20, 40), (2, 2), 2)
    n = NEWLINE
    whole, first, second = [0, 1, 2, 3], [6, 7, 10, 11, n], [12, 13, 16, 17, n]
    assert tokens[:, 0].tolist() == whole + first + second


def test_an_image_at_half_its_size_has_the_means_of_pairs():
    rows, shares = anyres.lines(4, 2)
    assert rows.tolist() == [[0, 1], [2, 3]]
    assert shares.tolist() == [[0.5, 0.5], [0.5, 0.5]]


def test_an_image_barely_above_the_limit_keeps_its_tokens():
    # Nine rows; two tiles are 162 tokens, 1.1² times that 196.
    for width, kept, mixed in ((23, 189, 1), (25, 207, 4)):
        tokens, _ = anyres.tokens_of_tiles((10, width), (1, 3), 9, 2)
        whole_and_newlines = 81 + 9
        assert tokens.shape[1] == mixed
        assert (len(tokens) == kept + whole_and_newlines) == (mixed == 1)


def test_too_few_tiles_from_the_processor_is_an_error():
    stack = TransformerConfig(8, 1, 1, 1, 8, 8)
    config = VLMConfig(
        9, VisionConfig(14, 7, stack), ConnectorConfig(), stack, 8
    )
    found = {
        "pixel_values": np.zeros((1, 2, 3, 14, 14)),
        "image_sizes": np.array([[50, 50]]),
    }
    fields = {"image_grid_pinpoints": [[28, 28]]}
    with pytest.raises(ValueError, match="made 2 tiles .* asks for 5"):
        llava_next.read(config, fields, found)


@pytest.mark.parametrize("name", ["anyres", "pad", "anyres_max_"])
def test_an_unknown_layout_is_an_error(name):
    with pytest.raises(ValueError, match="vision_aspect_ratio"):
        llava_onevision.config({"vision_aspect_ratio": name})
