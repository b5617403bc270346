"""Text to token ids and back, through Hugging Face tokenizers."""

import dataclasses
import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING

from vlm_games.data.examples import IMAGE

if TYPE_CHECKING:  # importing it takes a second
    from transformers import PreTrainedTokenizerBase

PAD, BOS, EOS, UNKNOWN = "<pad>", "<bos>", "<eos>", "<unk>"


@dataclasses.dataclass(frozen=True)
class Tokenizer:
    """A thin, caching face of a transformers tokenizer.

    Attributes:
      hf: the transformers tokenizer.
      image_id, bos_id, eos_id, pad_id: ids of the special tokens.
      image_token: what the tokenizer calls `<image>`.
    """

    hf: "PreTrainedTokenizerBase"
    image_id: int
    bos_id: int
    eos_id: int
    pad_id: int
    image_token: str = IMAGE

    @functools.lru_cache(maxsize=1 << 16)  # noqa: B019 (lives as long as runs)
    def encode(self, text: str) -> tuple[int, ...]:
        """Ids of `text`, without special tokens added."""
        text = text.replace(IMAGE, self.image_token)
        return tuple(self.hf.encode(text, add_special_tokens=False))

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids`; special tokens are left out."""
        text = self.hf.decode(list(ids), skip_special_tokens=True)
        return str(text).strip()

    def __hash__(self):
        return id(self.hf)

    def __eq__(self, other):
        return isinstance(other, Tokenizer) and self.hf is other.hf


def wrap(hf) -> Tokenizer:
    """Wraps a transformers tokenizer that knows `<image>`."""
    image_id = hf.convert_tokens_to_ids(IMAGE)
    if image_id is None or image_id == hf.unk_token_id:
        raise ValueError(
            f"The tokenizer has no token {IMAGE!r}: a vision-language "
            "model needs a placeholder for image tokens."
        )
    bos = hf.bos_token_id if hf.bos_token_id is not None else hf.eos_token_id
    return Tokenizer(hf, image_id, bos, hf.eos_token_id, hf.pad_token_id)


def load_tokenizer(path: str) -> Tokenizer:
    """Reads the tokenizer files of a model directory."""
    from transformers import PreTrainedTokenizerFast

    return wrap(PreTrainedTokenizerFast.from_pretrained(path))


def word_tokenizer(words: Iterable[str]) -> Tokenizer:
    """A tokenizer that knows exactly `words`, split at white space."""
    import tokenizers
    from transformers import PreTrainedTokenizerFast

    special = [PAD, BOS, EOS, UNKNOWN, IMAGE]
    words = [w for w in dict.fromkeys(words) if w not in special]
    vocabulary = {w: i for i, w in enumerate(special + words)}
    model = tokenizers.models.WordLevel(vocabulary, unk_token=UNKNOWN)
    backend = tokenizers.Tokenizer(model)
    backend.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    return wrap(
        PreTrainedTokenizerFast(
            tokenizer_object=backend,
            pad_token=PAD,
            bos_token=BOS,
            eos_token=EOS,
            unk_token=UNKNOWN,
            extra_special_tokens=[IMAGE],
        )
    )
