"""A model that answers questions about image files.

A model of ours sees squares and is asked in its own few words. A public
checkpoint reads images and chat just as its makers' processor prepares them.
"""

import io
import os
import pathlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from PIL import Image, ImageOps

from vlm_games.base_model import BaseModel, digest_files, is_public, load_base
from vlm_games.data import decode
from vlm_games.evaluation.benchmarks.benchmark import LETTERS, Question
from vlm_games.games.answer import Asked, answer, without_images
from vlm_games.games.choice import parse_mark
from vlm_games.games.instructions import Instructions, chat_instructions
from vlm_games.games.play import Role
from vlm_games.hub.pretrained import Pretrained, find_folder, load_pretrained
from vlm_games.models.checkpoint import CONFIG
from vlm_games.models.mesh import make_mesh
from vlm_games.models.shipped import find_shipped
from vlm_games.sampling.engine import Engine

# What is said behind a question, by its style; choices have their own words.
ENDINGS = {
    "short": "Answer in one or two words.",
    "yes_no": "Answer yes or no.",
    "open": "",
}


class Respondent(Protocol):
    """Who answers.

    Attributes:
      digest: of the weights.
    """

    digest: str

    def say(
        self,
        questions: Sequence[Question],
        folder: str | os.PathLike,
        tokens: int,
        instruction: str | None = None,
    ) -> list[str]:
        """Greedy answers, in order.

        Args:
          folder: where images that are given by name lie.
          tokens: most of an answer.
          instruction: said behind every question, in place of our own words.

        Raises:
          FileNotFoundError, UnreadableImageError: naming the image.
        """


def load_respondent(base: str, dtype: str, batch: int) -> Respondent:
    """Loads the model of a directory, a hub id or a shipped base.

    Args:
      base: as `config.base`. batch: questions that will be asked at a time.

    Raises:
      ValueError, FileNotFoundError: see `load_model` and `load_pretrained`.
    """
    folder = find_folder(str(find_shipped(base)))
    if (folder / CONFIG).is_file() and not is_public(folder):
        mesh = make_mesh()
        return OwnRespondent(load_base(base, dtype, 0, {}, mesh), mesh, batch)
    return PublicRespondent(load_pretrained(folder, dtype), batch)


class OwnRespondent:
    """A model of ours, asked in its own prompts."""

    def __init__(self, base: BaseModel, mesh, batch: int):
        self._base = base
        self._engine = Engine(base.model, mesh, batch)
        self._rows = -(-batch // self._engine.shards)
        self.digest = base.digest

    def say(self, questions, folder, tokens, instruction=None):
        """See `Respondent`."""
        size = self._base.model.vision.image_size
        pixels: list[np.ndarray] = []
        asked = []
        for question in questions:
            first = len(pixels)
            pixels += [_square(x, folder, size) for x in question.images]
            numbers = tuple(range(first, len(pixels)))
            asked.append(Asked(numbers, self._prompt(question, instruction)))
        params = self._base.params
        if pixels:
            seen = self._engine.encode(params, np.stack(pixels))
            role = Role(params, seen)
        else:
            role = without_images(self._engine, params)
        said = answer(
            self._engine,
            self._base.tokenizer,
            role,
            asked,
            tokens,
            rows=self._rows,
        )
        return [
            self._with_letter(question, x.text)
            for question, x in zip(questions, said, strict=True)
        ]

    def _prompt(self, question: Question, instruction: str | None) -> str:
        prompts, images = self._base.prompts, len(question.images)
        brief = question.style in ("short", "yes_no") and not instruction
        if brief and images == 1:
            return prompts.ask_describer(question.text)
        words = wording(question, self._base.instructions, instruction)
        words = question.text if brief else words
        if images > 1:
            return prompts.compare(words, images)
        return prompts.instruct(words, image=images == 1)

    def _with_letter(self, question: Question, text: str) -> str:
        """The letter of the option, where this model's marks are others."""
        if question.style != "choice":
            return text
        marks = self._base.instructions.marks[: len(question.options)]
        named = parse_mark(text, marks)
        return text if named is None else LETTERS[named]


class PublicRespondent:
    """A public checkpoint, asked in its chat template."""

    def __init__(self, model: Pretrained, batch: int):
        self._model, self._batch = model, batch
        self._instructions = chat_instructions()
        folder = model.stored.folder
        files = sorted({folder / f for f in model.stored.files.values()})
        self.digest = digest_files(files)

    def say(self, questions, folder, tokens, instruction=None):
        """See `Respondent`."""
        talks = []
        for question in questions:
            words = wording(question, self._instructions, instruction)
            content = [
                {"type": "image", "image": _open(x, folder)}
                for x in question.images
            ]
            content.append({"type": "text", "text": words})
            talks.append([{"role": "user", "content": content}])
        # Always as many rows: another number would be compiled anew.
        missing = max(self._batch - len(talks), 0)
        said = self._model.generate(talks + talks[:1] * missing, tokens)
        return said[: len(questions)]


def wording(
    question: Question, instructions: Instructions, instruction: str | None
) -> str:
    """A question with its options and how it is to be answered."""
    options = ""
    if question.style == "choice":
        options = instructions.list_options(question.options)
        if instruction is None:
            return instructions.choice.format(
                question=question.text, options=options
            )
    if instruction is None:
        instruction = ENDINGS[question.style]
    parts = (question.text, options, instruction)
    return "\n".join(part for part in parts if part)


def _open(image: str | bytes, folder) -> Image.Image:
    """An image by name or by its bytes, upright, RGB."""
    file, name = _file(image, folder)
    try:
        with Image.open(file, formats=decode.installed_formats()) as found:
            return ImageOps.exif_transpose(found).convert("RGB")
    except FileNotFoundError:
        raise
    except Exception as error:  # broken files surface as nearly anything
        raise decode.UnreadableImageError(f"{name}: {error}") from error


def _square(image: str | bytes, folder, size: int) -> np.ndarray:
    """The same as uint8 [size, size, 3]."""
    file, name = _file(image, folder)
    try:
        return decode.decode_square(file, size)
    except decode.UnreadableImageError as error:
        raise decode.UnreadableImageError(f"{name}: {error}") from error


def _file(image: str | bytes, folder):
    """(what is opened, what it is called)."""
    if isinstance(image, bytes):
        return io.BytesIO(image), "an image in the table"
    path = pathlib.Path(folder) / image
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no image {path}; --images names the folder in which "
            "the owners' images lie."
        )
    return path, str(path)
