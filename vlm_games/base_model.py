"""The model that a run begins with: the shipped one, ours, or a public one."""

import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import Mesh

from vlm_games.data import tokenizer as tokenizers
from vlm_games.games.chat_prompts import chat_prompts
from vlm_games.games.instructions import Instructions, chat_instructions
from vlm_games.games.prompts import Prompts
from vlm_games.hub import chat, processors
from vlm_games.hub.family import find_family
from vlm_games.hub.pretrained import find_folder, load_pretrained
from vlm_games.models.checkpoint import CONFIG, WEIGHTS, load_model
from vlm_games.models.config import VLMConfig
from vlm_games.models.mesh import param_sharding, place
from vlm_games.models.shipped import find_shipped


@dataclasses.dataclass(frozen=True)
class BaseModel:
    """A model and what it is spoken to with.

    Attributes:
      model: architecture, at the image size that games are played with.
      params: iteration 0, on the devices.
      tokenizer, prompts, instructions: of the model.
      digest: of its weights: a resumed run must find the same.
    """

    model: VLMConfig
    params: object
    tokenizer: tokenizers.Tokenizer
    prompts: Prompts
    instructions: Instructions
    digest: str


def load_base(
    path_or_hub_id: str,
    dtype: str,
    image_size: int,
    prompts: Mapping[str, Any],
    mesh: Mesh,
    instructions: Mapping[str, Any] | None = None,
) -> BaseModel:
    """Loads the model that `config.base` names.

    Args:
      path_or_hub_id: a directory of ours or of a public family, a hub id, the
        name of a shipped base, or "" for the default one.
      dtype: of params and computation.
      image_size: side of the squares that games show, pixels; 0 for the
        model's own.
      prompts: fields of Prompts to replace.
      mesh: the params are placed on it.
      instructions: fields of Instructions to replace.

    Raises:
      ValueError, FileNotFoundError: see `load_model` and `load_pretrained`.
    """
    folder = find_shipped(path_or_hub_id)
    instructions = instructions or {}
    if not (folder / CONFIG).is_file() or is_public(folder):
        return _load_public(
            path_or_hub_id, dtype, image_size, prompts, mesh, instructions
        )
    model, params = load_model(folder)
    model = dataclasses.replace(model, dtype=dtype)
    params = jax.tree.map(lambda x: x.astype(dtype), params)
    return BaseModel(
        with_image_size(model, image_size),
        place(mesh, params),
        tokenizers.load_tokenizer(str(folder)),
        Prompts(**prompts),
        Instructions(**instructions),
        digest_files([folder / WEIGHTS]),
    )


def find_model(path_or_hub_id: str, image_size: int) -> VLMConfig:
    """The architecture that `load_base` would load, without its weights.

    Raises:
      ValueError, FileNotFoundError: see `load_base`.
    """
    folder = find_folder(str(find_shipped(path_or_hub_id)))
    if is_public(folder):
        fields = processors.load_config(folder)
        return with_image_size(find_family(fields).config(fields), image_size)
    text = (folder / CONFIG).read_text(encoding="utf-8")
    return with_image_size(VLMConfig.from_dict(json.loads(text)), image_size)


def find_instructions(
    path_or_hub_id: str, instructions: Mapping[str, Any]
) -> Instructions:
    """What `load_base` would tell the model, without its weights.

    Args:
      instructions: fields to replace.

    Raises:
      ValueError, FileNotFoundError: see `load_base`.
    """
    folder = find_folder(str(find_shipped(path_or_hub_id)))
    own = chat_instructions() if is_public(folder) else Instructions()
    return dataclasses.replace(own, **instructions)


def is_public(folder: pathlib.Path) -> bool:
    """Whether a model directory is of a public family, not of ours."""
    try:
        fields = json.loads((folder / CONFIG).read_bytes())
    except (ValueError, RecursionError):
        return False  # `load_model` tells what is wrong with it
    return isinstance(fields, dict) and "model_type" in fields


def _load_public(
    path_or_hub_id, dtype, image_size, prompts, mesh, instructions
) -> BaseModel:
    found = load_pretrained(
        find_folder(path_or_hub_id),
        dtype,
        functools.partial(param_sharding, mesh),
    )
    parts = chat.take_apart(found.processor)
    model = with_image_size(found.config, image_size)
    spoken = chat_prompts(
        **dataclasses.asdict(parts), image=found.family.image_text
    )
    hf = found.tokenizer
    tokenizer = tokenizers.Tokenizer(
        hf,
        model.image_token_id,
        hf.bos_token_id,
        hf.convert_tokens_to_ids(parts.end),
        hf.pad_token_id,
        hf.convert_ids_to_tokens(model.image_token_id),
    )
    files = sorted(
        {found.stored.folder / f for f in found.stored.files.values()}
    )
    return BaseModel(
        model,
        found.params,
        tokenizer,
        dataclasses.replace(spoken, **prompts),
        dataclasses.replace(chat_instructions(), **instructions),
        digest_files(files),
    )


def with_image_size(model: VLMConfig, image_size: int) -> VLMConfig:
    """The model for square images of another size.

    Raises:
      ValueError: its positions are learned for one size, or the size is no
        multiple of an image token's side.
    """
    vision = model.vision
    if image_size in (0, vision.image_size):
        return model
    if vision.table and not vision.interpolate:
        raise ValueError(
            f"config.image_size={image_size}: this model sees images of "
            f"{vision.image_size} x {vision.image_size} pixels only; leave it "
            "at 0."
        )
    side = vision.patch_size * model.connector.fold
    if image_size % side:
        raise ValueError(
            f"config.image_size={image_size} is no multiple of {side}, the "
            "side of an image token in pixels: take one, or 0 for the model's "
            "own size."
        )
    # The table, if there is one, keeps its rows and is stretched.
    vision = dataclasses.replace(
        vision, image_size=image_size, positions=vision.table
    )
    return dataclasses.replace(model, vision=vision)


def digest_files(paths) -> str:
    """SHA-256 of the files' contents, read in pieces."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            while piece := file.read(1 << 24):
                digest.update(piece)
    return digest.hexdigest()
