"""Chat messages to token ids and pictures, by the checkpoint's own processor.

Nothing here needs PyTorch or torchvision: image processors run on Pillow.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vlm_games.hub.family import NEWLINE, Family, Picture
from vlm_games.models.config import VLMConfig

Messages = Sequence[Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class Prompt:
    """One conversation as the model reads it.

    Attributes:
      tokens: int32 [L]. pictures: in order of their tokens.
      slots: int32 [L], number of the image token, counted over all pictures
        of the prompt; -1 for text.
      positions: int32 [L, A], of the rotary embedding.
    """

    tokens: np.ndarray
    pictures: tuple[Picture, ...]
    slots: np.ndarray
    positions: np.ndarray


@dataclasses.dataclass(frozen=True)
class Reader:
    """Reads conversations for one checkpoint.

    Attributes:
      processor: of transformers. family, config, fields: of the checkpoint;
        fields is config.json, completed.
    """

    processor: Any
    family: Family
    config: VLMConfig
    fields: Mapping[str, Any]

    def read(self, messages: Messages) -> Prompt:
        """One conversation, with the generation prompt.

        Args:
          messages: Hugging Face chat messages; images as
            {"type": "image", "image": PIL image or path}.

        Raises:
          ValueError: an image is no PIL image and no file, or the processor
            made another number of image tokens than the model does.
        """
        found = self.processor.apply_chat_template(
            [with_images(m) for m in messages],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="np",
        )
        return self.prompt(found)

    def prompt(self, found: Mapping[str, Any]) -> Prompt:
        """One conversation from what the processor returns, as NumPy arrays.

        Args:
          found: "input_ids" [1, L], and with images "pixel_values" and what
            else the family's processor says of them.
        """
        tokens = np.asarray(found["input_ids"][0], np.int32)
        pictures: Sequence[Picture] = ()
        if "pixel_values" in found:
            pictures = self.family.pictures(self.config, self.fields, found)
        return place(self.config, tokens, tuple(pictures))


def with_images(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message whose images are PIL images or paths, as processors want."""
    content = message["content"]
    if isinstance(content, str):
        return {**message, "content": [{"type": "text", "text": content}]}
    return {**message, "content": [_item(item) for item in content]}


def _item(item: Mapping[str, Any]) -> dict[str, Any]:
    if item["type"] == "text":
        return dict(item)
    image = next((item[k] for k in ("image", "path") if k in item), None)
    if item["type"] != "image" or image is None:
        raise ValueError(
            f"A message holds {item['type']!r} given by {sorted(item)}; "
            'expected {"type": "text", "text": ...} or '
            '{"type": "image", "image": <PIL image or path>}.'
        )
    if not isinstance(image, str | os.PathLike):
        return {"type": "image", "image": image}
    # transformers would fetch an address, and read a string as base64.
    if not os.path.isfile(image):
        raise ValueError(
            f"There is no image file {str(image)[:200]!r}. Images are not "
            "fetched from the network: give a path, or a PIL image."
        )
    return {"type": "image", "path": os.fspath(image)}


def place(
    config: VLMConfig, tokens: np.ndarray, pictures: tuple[Picture, ...]
) -> Prompt:
    """Puts the pictures' tokens on their placeholders.

    Raises:
      ValueError: there are more or fewer placeholders than image tokens.
    """
    here = tokens == config.image_token_id
    counts = [len(p.tokens) for p in pictures]
    if here.sum() != sum(counts):
        raise ValueError(
            f"The prompt has {here.sum()} image tokens, its {len(pictures)} "
            f"images make {sum(counts)} ({counts}): processor and model do "
            "not belong together."
        )
    slots = np.where(here, np.cumsum(here) - 1, -1).astype(np.int32)
    positions = count_positions(config, here, pictures)
    return Prompt(tokens, pictures, slots, positions)


def count_positions(config: VLMConfig, here, pictures) -> np.ndarray:
    """Rotary positions int32 [L, A]: text counts on, images span a grid.

    Source: M-RoPE, arXiv 2409.12191: an image of h x w tokens takes max(h, w)
    positions.
    """
    length, axes = len(here), config.axes
    if axes == 1:
        return np.arange(length, dtype=np.int32)[:, None]
    positions = np.zeros((length, axes), np.int32)
    at = position = 0
    waiting = list(pictures)
    while at < length:
        if not here[at]:
            positions[at] = position
            at, position = at + 1, position + 1
            continue
        height, width = waiting.pop(0).grid
        rows, columns = np.divmod(np.arange(height * width), width)
        grid = np.stack([np.zeros_like(rows), rows, columns], -1)
        positions[at : at + len(grid)] = position + grid
        at, position = at + len(grid), position + max(height, width)
    return positions


def mixture(
    config: VLMConfig, prompts: Sequence[Prompt], patches: int
) -> tuple[np.ndarray, np.ndarray]:
    """How image tokens are mixed from what the tower gives for all prompts.

    Args:
      prompts: a batch, with a picture at least.
      patches: of a row of `pictures.stack`.

    Returns:
      (int32 [M, K] numbers of the tower's tokens, in order of prompts and
      pictures; the number behind the last is the newline; float32 [M, K]).
    """
    pictures = [p for prompt in prompts for p in prompt.pictures]
    wide = max(p.tokens.shape[1] for p in pictures)
    rows = [len(p.patches.pixels) for p in pictures]
    fold = config.connector.fold**2
    numbers, shares, first = [], [], 0
    for picture, count in zip(pictures, rows, strict=True):
        own = picture.patches.pixels.shape[1] // fold
        row, token = np.divmod(picture.tokens, own)
        moved = (first + row) * (patches // fold) + token
        newline = sum(rows) * (patches // fold)
        moved = np.where(picture.tokens == NEWLINE, newline, moved)
        pad = ((0, 0), (0, wide - moved.shape[1]))
        numbers.append(np.pad(moved, pad))
        shares.append(np.pad(picture.shares, pad))
        first += count
    return np.concatenate(numbers), np.concatenate(shares)
