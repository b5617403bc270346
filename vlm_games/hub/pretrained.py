"""A checkpoint in hand: params, model, processor, and three calls."""

import dataclasses
import functools
import json
import os
import pathlib
import re
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vlm_games.hub import pictures, processors, reading, saving, weights
from vlm_games.hub.family import Family, find_family
from vlm_games.hub.stored import INDEX, Stored, open_weights
from vlm_games.models import packed, vlm
from vlm_games.models.config import VLMConfig
from vlm_games.sampling import session as sessions
from vlm_games.sampling.engine import round_up

# Prompts and their image tokens are padded to a multiple: few are compiled.
LENGTHS = 64
# What a model directory holds beside its weights.
SIDE_FILES = ("*.json", "*.jinja", "*.model", "*.txt")
HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
# Chat messages of Hugging Face; a conversation, or a list of them.
Conversation = Sequence[Mapping[str, Any]]
Messages = Conversation | Sequence[Conversation]


@dataclasses.dataclass
class Pretrained:
    """A VLM of a public family; its parts are plain attributes.

    Attributes:
      config: architecture.
      params: on the devices.
      family: what tells it from others.
      fields: config.json, completed.
      processor: of transformers; `processor.tokenizer` is its tokenizer.
      stored: where it was loaded from.
    """

    config: VLMConfig
    params: vlm.Params
    family: Family
    fields: Mapping[str, Any]
    processor: Any
    stored: Stored

    @property
    def tokenizer(self):
        """The transformers tokenizer."""
        return self.processor.tokenizer

    @property
    def reader(self) -> reading.Reader:
        """Reads messages into prompts."""
        return reading.Reader(
            self.processor, self.family, self.config, self.fields
        )

    def logits(self, messages: Messages) -> np.ndarray | list[np.ndarray]:
        """Logits of all tokens of the prompt.

        Args:
          messages: a conversation, or a list of conversations.

        Returns:
          float32 [tokens, vocabulary] of what follows each token, or a list.
        """
        prompts = [self.reader.read(m) for m in conversations(messages)]
        rows = self.prompt_logits(prompts)
        return rows if is_batch(messages) else rows[0]

    def prompt_logits(self, prompts: Sequence[reading.Prompt]):
        """As `logits`, a list, of prompts already read."""
        found = jax.device_get(
            _logits(self.config, self.params, *self._batch(prompts))
        )
        return [
            row[: len(prompt.tokens)]
            for row, prompt in zip(found, prompts, strict=True)
        ]

    def generate(
        self,
        messages: Messages,
        max_new_tokens: int = 128,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> str | list[str]:
        """What the model says next.

        Args:
          messages: a conversation, or a list of conversations.
          max_new_tokens: at most.
          temperature: 0 is greedy.
          seed: of draws.

        Returns:
          text, or a list.
        """
        prompts = [self.reader.read(m) for m in conversations(messages)]
        ids = self.generate_ids(prompts, max_new_tokens, temperature, seed)
        texts = [
            self.tokenizer.decode(row, skip_special_tokens=True).strip()
            for row in ids
        ]
        return texts if is_batch(messages) else texts[0]

    def generate_ids(
        self,
        prompts: Sequence[reading.Prompt],
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[list[int]]:
        """Token ids said after each prompt, the stop token left out."""
        stop = np.zeros(self.config.vocab_size, bool)
        stop[list(self.stop_ids())] = True
        forbidden = np.zeros(self.config.vocab_size, bool)
        forbidden[self.config.image_token_id] = True
        words = jax.device_get(
            _generate(
                self.config,
                self.params,
                *self._batch(prompts),
                jax.random.split(jax.random.key(seed), len(prompts)),
                temperature,
                stop,
                forbidden,
                max_new_tokens,
            )
        )
        said = [
            row[:n].tolist()
            for row, n in zip(words.tokens, words.count, strict=True)
        ]
        return [
            row[:-1] if ended else row
            for row, ended in zip(said, words.stopped, strict=True)
        ]

    def stop_ids(self) -> set[int]:
        """Tokens that end an answer, by generation_config.json or tokenizer."""
        path = self.stored.folder / "generation_config.json"
        found = None
        if path.is_file():
            found = json.loads(path.read_text()).get("eos_token_id")
        if found is None:
            found = self.tokenizer.eos_token_id
        return set(found if isinstance(found, list) else [found])

    def save_pretrained(self, path: str | os.PathLike) -> None:
        """Writes a directory that transformers, vLLM and this package read.

        Raises:
          ValueError: `path` is the directory that the model was loaded from.
        """
        folder = pathlib.Path(path)
        if folder.resolve() == self.stored.folder.resolve():
            raise ValueError(
                f"{folder} is where this model was loaded from, and is still "
                "read from while saving. Save it elsewhere."
            )
        saving.save(folder, self.params, self.stored, self.family, self.config)
        for pattern in SIDE_FILES:
            for file in self.stored.folder.glob(pattern):
                if file.name != INDEX:
                    shutil.copyfile(file, folder / file.name)

    def _batch(self, prompts: Sequence[reading.Prompt]):
        """Arrays of a padded batch, for `_logits` and `_generate`."""
        lengths = np.array([len(p.tokens) for p in prompts], np.int32)
        width = round_up(int(lengths.max()), LENGTHS)
        shape = (len(prompts), width)
        tokens, slots = np.zeros(shape, np.int32), np.full(shape, -1, np.int32)
        positions = np.zeros((*shape, self.config.axes), np.int32)
        first = 0
        for row, prompt in enumerate(prompts):
            n = len(prompt.tokens)
            tokens[row, :n], positions[row, :n] = (
                prompt.tokens,
                prompt.positions,
            )
            here = prompt.slots >= 0
            slots[row, :n] = np.where(here, prompt.slots + first, -1)
            first += here.sum()
        return tokens, lengths, slots, positions, self.image_tokens(prompts)

    def image_features(self, prompts: Sequence[reading.Prompt]):
        """Output of the vision tower's last block, for finding a fault.

        Returns:
          float32 [patches, D], the patches of all pictures in our order, the
          tower's last norm left out.
        """
        seen = [p for prompt in prompts for p in prompt.pictures]
        patches = pictures.stack(seen)
        found = jax.device_get(_see(self.config, self.params, patches))
        return found[patches.windows >= 0]

    def image_tokens(self, prompts):
        """Image tokens [M, D] of all prompts, in order, and some padding."""
        seen = [p for prompt in prompts for p in prompt.pictures]
        if not seen:
            shape = (1, self.config.image_token_width)
            return np.zeros(shape, self.config.compute_dtype)
        patches = pictures.stack(seen)
        numbers, shares = reading.mixture(
            self.config, prompts, patches.pixels.shape[1]
        )
        # Padded like the prompts are: no slot points to what is added.
        pad = ((0, -len(numbers) % LENGTHS), (0, 0))
        numbers, shares = np.pad(numbers, pad), np.pad(shares, pad)
        return _encode(self.config, self.params, patches, numbers, shares)


def load_pretrained(
    path_or_hub_id: str | os.PathLike,
    dtype: str = "bfloat16",
    sharding: weights.Shardings = None,
) -> Pretrained:
    """Loads a VLM from a directory, or from the Hugging Face hub.

    No code from the checkpoint is run. Only a hub id makes it use the network.

    Args:
      path_or_hub_id: a directory, or such as "llava-hf/llava-1.5-7b-hf".
      dtype: of params and computation, "bfloat16" or "float32".
      sharding: where params go: one for all, or a function of a param's path
        ("decoder.norm.scale") and shape; None for the default device.

    Raises:
      ValueError: a family that is not supported, or weights that do not fit.
      FileNotFoundError: a file is missing.
    """
    folder = find_folder(path_or_hub_id)
    fields = processors.load_config(folder)
    family = find_family(fields)
    config = dataclasses.replace(family.config(fields), dtype=dtype)
    stored = open_weights(folder, family)
    params = weights.load(stored, family, config, jnp.dtype(dtype), sharding)
    processor = processors.load_processor(folder, fields, family.processor)
    vision = dataclasses.replace(
        config.vision, **processors.normalisation(processor)
    )
    config = dataclasses.replace(config, vision=vision)
    return Pretrained(config, params, family, fields, processor, stored)


def find_folder(path_or_hub_id) -> pathlib.Path:
    """The directory itself, or where the hub's files were downloaded to.

    Raises:
      FileNotFoundError: neither a directory nor of the form of a hub id.
    """
    folder = pathlib.Path(path_or_hub_id)
    if folder.is_dir():
        return folder
    if not HUB_ID.fullmatch(str(path_or_hub_id)):
        raise FileNotFoundError(
            f"{folder} is no directory, so there is no config.json; nor is it "
            "a hub id such as llava-hf/llava-1.5-7b-hf: give one or the other."
        )
    import huggingface_hub

    return pathlib.Path(
        huggingface_hub.snapshot_download(
            str(path_or_hub_id), allow_patterns=["*.safetensors", *SIDE_FILES]
        )
    )


def is_batch(messages) -> bool:
    """Whether `messages` is a list of conversations."""
    return not isinstance(messages[0], Mapping)


def conversations(messages) -> list:
    """`messages` as a list of conversations."""
    return list(messages) if is_batch(messages) else [messages]


@functools.partial(jax.jit, static_argnums=0)
def _encode(config: VLMConfig, params, patches, numbers, shares):
    """Patches to mixed image tokens [M, D]; see `reading.mixture`."""
    tokens = vlm.encode_patches(config, params, patches)
    tokens = tokens.reshape(-1, tokens.shape[-1])
    if config.newline:
        newline = params["newline"].astype(tokens.dtype)
        tokens = jnp.concatenate([tokens, newline[None]])
    mixed = tokens[numbers].astype(jnp.float32) * shares[..., None]
    return mixed.sum(axis=1).astype(tokens.dtype)


@functools.partial(jax.jit, static_argnums=0)
def _see(config: VLMConfig, params, patches):
    encoder = dataclasses.replace(config.vision.encoder, final_norm=False)
    vision = dataclasses.replace(config.vision, encoder=encoder)
    return vlm.VLM(dataclasses.replace(config, vision=vision)).apply(
        {"params": params}, patches, method=lambda m, x: m.vision(x)[0]
    )


@functools.partial(jax.jit, static_argnums=0)
def _logits(config, params, tokens, lengths, slots, positions, images):
    segments = jnp.arange(tokens.shape[1]) < lengths[:, None]
    mask = packed.attention_mask(segments, jnp.zeros_like(tokens))
    hidden = vlm.forward(config, params, tokens, slots, images, positions, mask)
    return vlm.unembed(config, params, hidden)


@functools.partial(jax.jit, static_argnums=(0, 11))
def _generate(
    config,
    params,
    tokens,
    lengths,
    slots,
    positions,
    images,
    keys,
    temperature,
    stop,
    forbidden,
    limit,
):
    rows, width = tokens.shape
    session = sessions.init_session(config, rows, width + limit)
    session = sessions.admit(
        config,
        params,
        session,
        jnp.arange(rows),
        tokens,
        lengths,
        slots,
        images,
        positions,
    )
    _, words = sessions.speak(
        config,
        params,
        session,
        jnp.ones(rows, bool),
        keys,
        temperature,
        stop,
        forbidden,
        limit,
    )
    return words
