"""Adapters in the directories that Hugging Face's PEFT reads and writes.

    adapter_config.json         rank, alpha, which modules
    adapter_model.safetensors   base_model.model.<module>.lora_A.weight [r, in]
                                base_model.model.<module>.lora_B.weight [out, r]

A module is called as transformers 5 has it in memory, which is neither what hub
files call it nor what transformers saves: PEFT finds no other name in all
families. Read are all of them.
"""

import json
import math
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from vlm_games.hub import modules
from vlm_games.hub.family import Family
from vlm_games.hub.weights import Stored
from vlm_games.models.config import VLMConfig
from vlm_games.models.low_rank import A, B
from vlm_games.training.lora import Adapters, LoraConfig, part_of

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
KEY = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")
# What else PEFT can do; all of it changes what A and B mean.
PLAIN = {
    "peft_type": "LORA",
    "bias": "none",
    "fan_in_fan_out": False,
    "use_dora": False,
    "lora_bias": False,
    "modules_to_save": None,
    "layer_replication": None,
    "alora_invocation_tokens": None,
}


def save_adapters(
    folder,
    config: LoraConfig,
    adapters: Adapters,
    model: VLMConfig,
    family: Family,
    stored: Stored,
    base: str = "",
) -> None:
    """Writes adapters for PEFT, transformers and vLLM.

    Args:
      config, adapters: as in `training.lora`.
      model, family, stored: of the checkpoint they belong to.
      base: its name for PEFT; empty for the directory that it was loaded from.

    Raises:
      ValueError: an adapter of what is no linear map in the checkpoint.
    """
    folder = pathlib.Path(folder)
    flat = flax.traverse_util.flatten_dict(jax.device_get(adapters), sep=".")
    maps = {path.removesuffix("." + A) for path in flat if path.endswith(A)}
    found = {
        name: module
        for name, module in modules.find(family, model).items()
        if maps.intersection(module.paths)
    }
    lost = maps.difference(*[module.paths for module in found.values()])
    if lost:
        raise ValueError(
            "PEFT keeps adapters of torch.nn.Linear alone, which the "
            f"checkpoint does not have for {', '.join(sorted(lost))}. Leave "
            "them out of the adapters' targets or parts, or save the merged "
            "params instead."
        )
    tensors: dict[str, np.ndarray] = {}
    ranks: dict[int, list[str]] = {}
    for name, module in found.items():
        a, b = modules.fuse(module, flat)
        key = f"base_model.model.{modules.in_memory(module.name)}"
        tensors[f"{key}.lora_A.weight"] = np.ascontiguousarray(a.T)
        tensors[f"{key}.lora_B.weight"] = np.ascontiguousarray(b.T)
        ranks.setdefault(len(b), []).append(name)
    fields = describe(config, base or str(stored.folder), ranks)
    folder.mkdir(parents=True, exist_ok=True)
    safetensors.numpy.save_file(tensors, folder / WEIGHTS, {"format": "pt"})
    text = json.dumps(fields, indent=2, sort_keys=True) + "\n"
    (folder / CONFIG).write_text(text, encoding="utf-8")


def describe(
    config: LoraConfig, base: str, ranks: Mapping[int, list[str]]
) -> dict[str, Any]:
    """adapter_config.json of modules by rank, under their short names."""
    everything = [name for names in ranks.values() for name in names]
    # PEFT puts "anything, then a dot" before these; ^ keeps it empty.
    other = {
        "^" + modules.pattern(names): rank
        for rank, names in ranks.items()
        if rank != config.rank
    }
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base,
        "inference_mode": True,
        "r": config.rank,
        "lora_alpha": config.alpha,
        "rank_pattern": other,
        "alpha_pattern": {k: config.scale * rank for k, rank in other.items()},
        "target_modules": modules.pattern(everything),
        "init_lora_weights": "gaussian" if config.draw == "normal" else True,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "use_rslora": False,
        "use_dora": False,
        "modules_to_save": None,
    }


def load_adapters(
    folder, model: VLMConfig, family: Family
) -> tuple[LoraConfig, Adapters]:
    """Reads float32 adapters that PEFT or `save_adapters` wrote.

    A and B of a module keep its own rank, and an alpha of its own is put into
    B. Adapters of what the model does not compute with are left out.

    Raises:
      FileNotFoundError: `folder` holds no adapters.
      ValueError: what is no plain LoRA, or does not fit the model; the message
        names it.
    """
    folder = pathlib.Path(folder)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder} holds no adapters: it has no {name}. Give a folder "
                "that PEFT, or vlm_games.export --adapters, has written."
            )
    fields = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    for name, plain in PLAIN.items():
        if fields.get(name, plain) not in (plain, None, []):
            raise ValueError(
                f"{folder / CONFIG} has {name}={fields[name]!r}; only plain "
                f"LoRA is supported, {name}={plain!r}."
            )
    scale, flat = scaling(fields, "", fields["r"]), {}
    for name, module, a, b in read_pairs(folder / WEIGHTS, model, family):
        b = b * (scaling(fields, name, len(b)) / scale)
        for path, own_a, own_b in modules.split(module, a, b):
            flat[f"{path}.{A}"] = jnp.asarray(own_a, jnp.float32)
            flat[f"{path}.{B}"] = jnp.asarray(own_b, jnp.float32)
    maps = [path.removesuffix("." + A) for path in flat if path.endswith(A)]
    gaussian = fields.get("init_lora_weights") == "gaussian"
    config = LoraConfig(
        rank=fields["r"],
        alpha=scale * fields["r"],
        targets=tuple(sorted({path.rpartition(".")[2] for path in maps})),
        parts=tuple(sorted({part_of(path) for path in maps})),
        draw="normal" if gaussian else "uniform",
    )
    return config, flax.traverse_util.unflatten_dict(flat, sep=".")


def scaling(fields: Mapping[str, Any], name: str, rank: int) -> float:
    """What PEFT multiplies the term of module `name` by."""
    alpha = fields["lora_alpha"]
    for key, value in (fields.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({key})$", name):
            alpha = value
            break
    return alpha / (math.sqrt(rank) if fields.get("use_rslora") else rank)


def read_pairs(
    path, model: VLMConfig, family: Family
) -> Iterator[tuple[str, modules.Module, np.ndarray, np.ndarray]]:
    """Yields (name in the file, module, A [in, r], B [r, out]).

    Raises:
      ValueError: naming the tensors that are no LoRA of this model.
    """
    known, strange = modules.find(family, model), []
    pairs: dict[str, dict[str, np.ndarray]] = {}
    with safetensors.safe_open(path, "np") as file:
        for key in sorted(file.keys()):
            match = KEY.fullmatch(key)
            if match is None:
                strange.append(key)
                continue
            pairs.setdefault(match[1], {})[match[2]] = file.get_tensor(key).T
    for name, pair in pairs.items():
        tensor = family.renamed(f"{name}.weight")
        module = known.get(modules.short(tensor.removesuffix(".weight")))
        if module is None:
            if not family.is_unused(tensor.removeprefix("model.")):
                strange.append(name)
            continue
        found = {kind: x.shape for kind, x in pair.items()}
        rank = found.get("A", (0, 0))[1]
        out = module.outputs * len(module.paths)
        if found != {"A": (module.inputs, rank), "B": (rank, out)}:
            strange.append(f"{name} of shapes {found} (in-out order)")
            continue
        yield name, module, pair["A"], pair["B"]
    if strange:
        raise ValueError(
            f"{path} has what is no LoRA of a linear map of this model: "
            + "; ".join(sorted(strange)[:8])
            + (f"; and {len(strange) - 8} more." if len(strange) > 8 else ".")
        )
