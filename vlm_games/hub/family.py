"""A family of checkpoints: all that tells one kind of VLM from another."""

import dataclasses
import importlib
import pkgutil
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from vlm_games.hub.leaves import Leaves
from vlm_games.models.config import VLMConfig
from vlm_games.models.vision import Patches

NEWLINE = -1  # in Picture.tokens: the learned end of a row


@dataclasses.dataclass(frozen=True)
class Picture:
    """One image of a prompt, on the host.

    Attributes:
      patches: NumPy arrays of n rows: tiles, or the image itself.
      tokens: int32 [T, K], the image tokens in order, each mixed from K of the
        n * tokens_per_row that the model makes of `patches`, or NEWLINE.
      shares: float32 [T, K], of these.
      grid: (height, width) in tokens, for positions of several axes; else
        None.
    """

    patches: Patches
    tokens: np.ndarray
    shares: np.ndarray
    grid: tuple[int, int] | None = None


@dataclasses.dataclass(frozen=True)
class Family:
    """What a file in `families/` defines.

    Attributes:
      model_types: values of `model_type` in config.json that it serves.
      config: config.json as a dict -> VLMConfig (float32).
      leaves: VLMConfig -> where each parameter lies.
      pictures: (VLMConfig, config.json, what the image processor returns as
        NumPy arrays) -> one Picture per image, in the order of the prompt.
      rename: (regular expression, replacement) pairs, applied in turn to the
        names in the file: hub files and transformers 5 differ.
      unused: regular expressions of (renamed) tensors that the model does not
        compute with; kept, and saved as they were.
      processor: class of transformers that reads the prompts, if another than
        the one of the model_type.
      image_text: what stands around an image's tokens, `<image>`, in a prompt.
      folded: whether the image processor already puts the patches of one image
        token side by side.
    """

    model_types: tuple[str, ...]
    config: Callable[[Mapping[str, Any]], VLMConfig]
    leaves: Callable[[VLMConfig], Leaves]
    pictures: Callable[
        [VLMConfig, Mapping[str, Any], Mapping[str, Any]], Sequence[Picture]
    ]
    rename: tuple[tuple[str, str], ...] = ()
    unused: tuple[str, ...] = ()
    processor: str = ""
    image_text: str = "<image>"
    folded: bool = False

    def renamed(self, name: str) -> str:
        """A tensor's name by our table, given the one in the file."""
        for pattern, replacement in self.rename:
            name = re.sub(pattern, replacement, name)
        return name

    def is_repeated(self, name: str, config: VLMConfig) -> bool:
        """Whether a (renamed) tensor is the embedding a second time.

        Some files keep the head of a model whose head is the embedding.
        """
        return config.tie_embeddings and name.endswith("lm_head.weight")

    def is_unused(self, name: str) -> bool:
        """Whether a (renamed) tensor takes no part in the computation."""
        return any(re.fullmatch(p, name) for p in self.unused)


def known_families() -> dict[str, Family]:
    """Every family in `families/`, by model_type."""
    from vlm_games.hub import families

    known: dict[str, Family] = {}
    for module in pkgutil.iter_modules(families.__path__):
        name = f"{families.__name__}.{module.name}"
        found = importlib.import_module(name).FAMILY
        known |= {kind: found for kind in found.model_types}
    return known


def find_family(config: Mapping[str, Any]) -> Family:
    """The family that serves config.json.

    Raises:
      ValueError: there is none; the message lists those that there are.
    """
    known, kind = known_families(), config.get("model_type")
    if kind not in known:
        raise ValueError(
            f"config.json says model_type={kind!r}; supported are "
            f"{', '.join(sorted(known))}. See docs/adding-a-family.md for how "
            "to add one."
        )
    return known[kind]
