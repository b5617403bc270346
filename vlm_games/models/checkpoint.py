"""A model directory: config.json, model.safetensors, tokenizer files.

Weights are safetensors, so that loading runs no code from the file. Tensor
names are the parameter's path in the params tree, joined by dots. A tensor of
int8 holds levels; beside it "<name>:step" says what one of them is worth.
"""

import json
import os
import pathlib
from collections.abc import Mapping

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from vlm_games.models.config import VLMConfig
from vlm_games.models.vlm import Params, init_params

WEIGHTS, CONFIG = "model.safetensors", "config.json"
STEP, LEVELS = ":step", 127  # of int8: from -127 to 127


def save_model(
    path: str | os.PathLike, config: VLMConfig, params: Params, dtype: str = ""
) -> None:
    """Writes `config` and `params` into the directory `path`.

    Args:
      dtype: that they are written in; empty for the one they have. "int8"
        rounds matrices to levels, a quarter of the bytes; vectors are float32.
    """
    folder = pathlib.Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    flat = flax.traverse_util.flatten_dict(jax.device_get(params), sep=".")
    # safetensors writes memory as it lies, whatever the strides say.
    if dtype == "int8":
        flat = to_levels(flat)
    elif dtype:
        flat = {name: x.astype(dtype) for name, x in flat.items()}
    flat = {name: np.asarray(x, order="C") for name, x in flat.items()}
    safetensors.numpy.save_file(flat, folder / WEIGHTS)
    text = json.dumps(config.to_dict(), indent=2) + "\n"
    (folder / CONFIG).write_text(text)


def to_levels(flat: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Float tensors by name to int8 and steps; vectors to float32."""
    found = {}
    for name, x in flat.items():
        x = np.asarray(x, np.float32)
        if x.ndim > 1:
            step = np.float32(max(np.abs(x).max() / LEVELS, 1e-12))
            found[name + STEP] = np.array(step)
            x = np.round(x / step).astype(np.int8)
        found[name] = x
    return found


def from_levels(flat: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Inverse of `to_levels`, but for rounding; other tensors as they are.

    Raises:
      ValueError: int8 without its step.
    """
    found = {}
    for name, x in flat.items():
        if x.dtype == np.int8:
            if name + STEP not in flat:
                raise ValueError(
                    f"{name} is int8 and there is no {name + STEP}: write the "
                    "model with vlm_games.models.checkpoint.save_model."
                )
            x = x.astype(np.float32) * flat[name + STEP]
        if not name.endswith(STEP):
            found[name] = x
    return found


def load_model(path: str | os.PathLike) -> tuple[VLMConfig, Params]:
    """Reads what `save_model` wrote.

    Raises:
      FileNotFoundError: `path` is no model directory.
      ValueError: a file is damaged, or the weights are not of the model that
        config.json tells; the message names each tensor that is missing,
        surplus or mis-shaped.
    """
    folder = pathlib.Path(path)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder} is no model directory: it has no {name}. Expected "
                "what vlm_games.models.checkpoint.save_model writes: give such "
                "a directory, a hub id, or the name of a shipped base."
            )
    config = read_config(folder / CONFIG)
    try:
        flat = safetensors.numpy.load_file(folder / WEIGHTS)
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"{folder / WEIGHTS} is damaged or no safetensors file ({error})."
        ) from error
    flat = from_levels(flat)
    check_tensors(config, {k: v.shape for k, v in flat.items()}, str(folder))
    arrays = {name: jnp.asarray(x) for name, x in flat.items()}
    return config, flax.traverse_util.unflatten_dict(arrays, sep=".")


def read_config(path: pathlib.Path) -> VLMConfig:
    """The architecture that a config.json of ours tells.

    Raises:
      ValueError: it is none; the message names the field.
    """
    try:
        return VLMConfig.from_dict(json.loads(path.read_bytes()))
    except (
        TypeError,
        ValueError,
        AttributeError,
        RecursionError,
    ) as error:
        raise ValueError(
            f"{path} describes no model of ours: {error}. Expected what "
            "vlm_games.models.checkpoint.save_model writes."
        ) from error


def check_tensors(
    config: VLMConfig, found: dict[str, tuple[int, ...]], where: str
) -> None:
    """Raises ValueError unless `found` are the shapes `config` asks for."""
    # First, since a depth of a billion would take for ever to lay out.
    depth = config.decoder.depth + config.vision.encoder.depth
    if depth > len(found):
        raise ValueError(
            f"{where}: {CONFIG} tells of {depth} blocks, and {WEIGHTS} holds "
            f"{len(found)} tensors. Check that they belong together."
        )
    try:
        abstract = jax.eval_shape(
            lambda: init_params(config, jax.random.key(0))
        )
    except Exception as error:  # whatever a nonsensical size leads to
        raise ValueError(
            f"{where}: {CONFIG} tells of a model that cannot be laid out: "
            f"{error}"
        ) from error
    flat = flax.traverse_util.flatten_dict(abstract, sep=".")
    expected = {name: x.shape for name, x in flat.items()}
    wrong = [f"missing {n} {expected[n]}" for n in expected.keys() - found]
    wrong += [f"surplus {n} {found[n]}" for n in found.keys() - expected]
    wrong += [
        f"{n} has shape {found[n]}, expected {expected[n]}"
        for n in expected.keys() & found.keys()
        if tuple(found[n]) != tuple(expected[n])
    ]
    if wrong:
        raise ValueError(
            f"{where} holds weights of another model: "
            + "; ".join(sorted(wrong)[:8])
            + (f"; and {len(wrong) - 8} more" if len(wrong) > 8 else "")
            + f". Check that {CONFIG} and {WEIGHTS} belong together."
        )
