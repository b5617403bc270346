"""What a config asks for, told without weights, tokenizer or images."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
from ml_collections import ConfigDict

from vlm_games import choices
from vlm_games.base_model import with_image_size
from vlm_games.data.opening import check_enough, count_images
from vlm_games.data.tokenizer import load_tokenizer
from vlm_games.games.chat_prompts import chat_prompts
from vlm_games.games.instructions import Instructions, chat_instructions
from vlm_games.games.layout import capacities, opening
from vlm_games.games.prompts import Prompts
from vlm_games.games.protocol import GameSettings
from vlm_games.hub import processors, weights
from vlm_games.hub.chat import Chat
from vlm_games.hub.family import find_family
from vlm_games.methods.estimates import Estimate
from vlm_games.methods.registry import METHODS
from vlm_games.models.checkpoint import CONFIG
from vlm_games.models.config import VLMConfig
from vlm_games.models.mesh import (
    FSDP,
    TENSOR,
    check_together,
    mesh_shape,
)
from vlm_games.models.shipped import find_shipped

# Characters of a token of English, rather too few.
CHARACTERS = 3
# What a core of a CPU keeps up, roughly: two take eight minutes for the default
# run, which is counted as 43 TFLOP.
CORE_TFLOPS = 0.045
# Stands for any chat template: what it writes is short beside the prompts.
CHAT = Chat(
    start="<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\n",
    see="<|im_start|>user\n",
    reply="<|im_end|>\n<|im_start|>assistant\n",
    lead="",
    end="<|im_end|>",
    again="<|im_end|>\n<|im_start|>user\n",
)


@dataclasses.dataclass(frozen=True)
class Device:
    """What a run is given.

    Attributes:
      count: devices that share the work. memory_gib: of each.
      tflops: that each keeps up, in 10^12 operations a second.
      own_memory, own_speed: whether these are of this machine, not given.
    """

    count: int
    memory_gib: float = 80.0
    tflops: float = 100.0
    own_memory: bool = False
    own_speed: bool = False


def find_device(
    count: int | None, memory_gib: float | None, tflops: float | None
) -> Device:
    """What is given, or what is known of this machine if it has only a CPU.

    Args:
      count: devices; those that are there if None, which are looked at.
    """
    given = {"memory_gib": memory_gib, "tflops": tflops}
    fields: dict[str, Any] = {k: x for k, x in given.items() if x is not None}
    if count is None:
        count = jax.device_count()
        if jax.default_backend() == "cpu":
            memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
            speed = (os.cpu_count() or 1) * CORE_TFLOPS
            if memory_gib is None:
                fields |= {"memory_gib": memory / 2**30 / count}
                fields |= {"own_memory": True}
            if tflops is None:
                fields |= {"tflops": speed / count, "own_speed": True}
    return Device(count, **fields)


@dataclasses.dataclass(frozen=True)
class Plan:
    """A config and what follows from it.

    Attributes:
      config: ConfigDict. devices: that share the work, of all hosts.
      model: architecture, at the games' image size.
      prompts: of both roles. instructions: of the model.
      shapes: of all params by path, in the dtype that they will have.
      words: (text without images) -> tokens.
      files: of `config.images`, broken ones too; None where not counted.
    """

    config: ConfigDict
    devices: int
    model: VLMConfig
    prompts: Prompts
    instructions: Instructions
    shapes: Mapping[str, jax.ShapeDtypeStruct]
    words: Callable[[str], int]
    files: int | None = None

    @property
    def settings(self) -> GameSettings:
        """How games are played."""
        return GameSettings(**self.config.play)

    @property
    def images(self) -> int:
        """Images in a game."""
        return self.config.game.images

    @property
    def tensor(self) -> int:
        """Devices that share every large param while a model trains."""
        return self.config.mesh.tensor

    @property
    def learning(self) -> dict[str, int]:
        """The axes that split params and state while a model trains."""
        return {FSDP: self.config.mesh.fsdp, TENSOR: self.tensor}

    @property
    def together(self) -> int:
        """Devices that hold a model together while it plays."""
        return self.config.mesh.play or self.tensor

    @property
    def shards(self) -> int:
        """Models that play, each with games of its own."""
        return self.devices // self.together

    @property
    def batch_shards(self) -> int:
        """Shards of a batch while a model trains; rows count for each."""
        return self.devices // self.tensor

    @property
    def slots(self) -> int:
        """Games at once with one model."""
        return self.settings.slots // self.shards

    @property
    def models(self) -> int:
        """Base and latest; of a single iteration they are one and the same."""
        return min(self.config.iterations, 2)

    def length(self, text: str, images: int) -> int:
        """Tokens of a text with so many images in it."""
        expand = self.model.tokens_per_image - 1
        return self.words(text) + images * expand

    def capacities(self) -> tuple[int, int]:
        """Of a row of the Guesser's and of the Describer's cache, tokens."""
        return capacities(self.prompts, self.settings, self.images, self.length)

    def opening(self) -> int:
        """What the Guesser reads at once, tokens."""
        text = opening(self.prompts, self.settings, self.images)
        return self.length(text, self.images)

    @property
    def estimate(self) -> Estimate:
        """What the method makes, says and learns in an iteration."""
        return METHODS[self.config.method].estimate(self)

    def listened(self) -> int:
        """Tokens of a text that the listener scores, at most."""
        c = self.settings
        ask = self.length(self.prompts.question_only(""), 0)
        branch = c.guesser_tokens + ask + c.answer_tokens
        trunk = self.length(self.prompts.describer_trunk(), 1)
        return trunk + c.turns * branch

    def image_counts(self) -> tuple[int, int]:
        """Images to play on and held out; see `workbench.build`.

        What was not counted is taken for as many as of the rendered world.
        """
        if self.files is None:
            return self.config.play_images, self.config.eval.target_images
        total = self.files
        held = -(-total // max(min(5, total // self.images), 1))
        return total - held, held


def make_plan(config, devices: int, folder) -> Plan:
    """Finds the architecture that `config.base` names.

    Args:
      devices: that the run would have. folder: of the config file.

    Raises:
      ValueError: `config.base` is no directory and `config.shape` is empty, or
        a field does not suit the model or the devices, or images are too few.
      FileNotFoundError: the file that `config.shape` or `config.images` names
        is missing.
    """
    choices.check(config)
    files = count_images(config)
    if files is not None:
        check_enough(config, files)
    mesh_shape(devices, config.mesh.fsdp, config.mesh.tensor)
    together = config.mesh.play or config.mesh.tensor
    check_together(devices, together)
    shards = devices // together
    if config.play.slots % shards:
        raise ValueError(
            f"config.play.slots={config.play.slots} games do not split over "
            f"{shards} devices, or groups of them that share a model: take a "
            f"multiple of {shards}."
        )
    path = find_config(config, pathlib.Path(folder))
    fields = json.loads(path.read_text(encoding="utf-8"))
    if "model_type" in fields:
        fields = processors.read_config(path)
        family = find_family(fields)
        model = family.config(fields)
        parts = dataclasses.asdict(CHAT)
        prompts = chat_prompts(**parts, image=family.image_text)
        instructions, words = chat_instructions(), guess_words
    else:
        model, prompts = VLMConfig.from_dict(fields), Prompts()
        instructions = Instructions()
        tokenizer = load_tokenizer(str(path.parent))

        def words(text):
            return len(tokenizer.encode(text))

    model = dataclasses.replace(model, dtype=config.dtype)
    model = with_image_size(model, config.image_size)
    prompts = dataclasses.replace(prompts, **config.prompts)
    instructions = dataclasses.replace(instructions, **config.instructions)
    shapes = {
        path: jax.ShapeDtypeStruct(x.shape, model.compute_dtype)
        for path, x in weights.abstract_params(model).items()
    }
    return Plan(
        config, devices, model, prompts, instructions, shapes, words, files
    )


def guess_words(text: str) -> int:
    """Tokens of a text, rather too many, where no tokenizer is at hand."""
    return -(-len(text) // CHARACTERS)


def find_config(config, folder: pathlib.Path) -> pathlib.Path:
    """config.json of the base, or the copy of it beside the config file."""
    path = find_shipped(config.base) / CONFIG
    if path.is_file():
        return path
    if not config.shape:
        raise ValueError(
            f"config.base={config.base!r} is no directory with a {CONFIG}, and "
            "config.shape is empty. Name a copy of the checkpoint's "
            f"{CONFIG} there, such as 'models/llava-1.5-7b.json', by its place "
            "beside the config file."
        )
    return folder / config.shape
