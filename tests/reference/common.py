"""What all reference checkpoints share: tokenizer, weights, conversations.

Nothing here needs PyTorch. Weights are drawn by NumPy from a tensor's name
and shape, so that a test can write again the very file that the reference
library saved, and no weights need to be committed.
"""

import json
import pathlib
import zlib

import ml_dtypes
import numpy as np
import safetensors.numpy
import tokenizers
from PIL import Image
from transformers import PreTrainedTokenizerFast

FOLDER = pathlib.Path(__file__).parent / "data"
TEXT = (
    "what color is the small circle at the left of the picture ? it is red . "
    "how many birds sit on the wire ? there are three birds and a cat . "
)


def make_tokenizer(special: list[str], **names) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with about 300 tokens.

    Args:
      special: tokens of the family, in order, behind those of the text.
      names: such as eos_token="</s>"; each must be in `special`.
    """
    backend = tokenizers.Tokenizer(tokenizers.models.BPE())
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(
        add_prefix_space=False
    )
    backend.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([TEXT], trainer)
    backend.add_special_tokens(special)
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names)


def without_video(kind: type) -> type:
    """A processor class less its video part, which wants torchvision."""

    def get_attributes(cls) -> list[str]:
        return [x for x in kind.get_attributes() if x != "video_processor"]

    changes = {"get_attributes": classmethod(get_attributes)}
    return type(kind.__name__, (kind,), changes)


def draw_weight(name: str, shape, dtype="float32") -> np.ndarray:
    """The weights of a tensor, drawn from its name and shape alone.

    Norms are near 1 (for a norm kept as the difference from 1: 2), matrices
    such that activations keep their size.
    """
    rng = np.random.default_rng(zlib.crc32(f"{name}{tuple(shape)}".encode()))
    x = rng.standard_normal(shape).astype(np.float32)
    if len(shape) < 2:
        is_norm = "norm" in name or "ln_q" in name
        x = 0.1 * x + (1.0 if is_norm and name.endswith("weight") else 0.0)
        # Gemma's embeddings are large, sqrt(width): were its blocks not to add
        # more, a head tied to them would say the last token for ever.
        x += 48.0 * ("post_feedforward" in name)
    elif "embed" not in name and "class" not in name:
        x *= 1.2 / np.sqrt(np.prod(shape[1:]))
    return x.astype(getattr(ml_dtypes, dtype, None) or dtype)


def write_weights(folder, dtype="float32") -> None:
    """Writes model.safetensors from the committed names and shapes."""
    shapes = json.loads((folder / "shapes.json").read_text())
    flat = {name: draw_weight(name, s, dtype) for name, s in shapes.items()}
    safetensors.numpy.save_file(
        flat, folder / "model.safetensors", {"format": "pt"}
    )


def draw_image(width: int, height: int, seed: int) -> Image.Image:
    """A picture of smooth colours and a few rectangles."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (4, 5, 3), np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.BICUBIC)
    pixels = np.array(image)
    for _ in range(3):
        y, x = rng.integers(height), rng.integers(width)
        pixels[y : y + height // 3, x : x + width // 3] = rng.integers(
            0, 256, 3
        )
    return Image.fromarray(pixels)


def user(*content) -> list[dict]:
    """A conversation of one message: texts, and images by themselves."""
    return [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": item}
                if isinstance(item, str)
                else {"type": "image", "image": item}
                for item in content
            ],
        }
    ]


def conversations() -> list[list[dict]]:
    """Ragged text, several images of different sizes, and none."""
    a, b = draw_image(90, 60, 1), draw_image(50, 110, 2)
    c = draw_image(64, 64, 3)
    return [
        user(a, "what color is the circle ?"),
        user("here", b, "and there", c, "how many birds are there in both ?"),
        user("how many ?"),
    ]
