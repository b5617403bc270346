"""Writes the reference checkpoints and what transformers makes of them.

    python -m reference.make [shape ...]      (in tests/, extra `reference`)

Per shape: config, tokenizer and processor as the library saves them, names
and shapes of the weights (see `common.draw_weight`), and reference.npz: for
every conversation what the processor returns, the vision tower's features,
logits and 64 greedy tokens, all float32 on the CPU.
"""

import importlib
import json
import pathlib
import pkgutil
import shutil
import sys
import tempfile

import numpy as np
import torch
import transformers

from reference import common, families

GREEDY = 64


def shapes() -> dict:
    """Every shape's builder by name."""
    found = {}
    for module in pkgutil.iter_modules(families.__path__):
        name = f"{families.__name__}.{module.name}"
        found |= importlib.import_module(name).SHAPES
    return found


def make_model(config, dtype=torch.float32):
    """The library's model with drawn weights, in eval mode.

    Tied tensors are drawn once, under the name that is saved.
    """
    model = transformers.AutoModelForImageTextToText.from_config(config)
    model = model.eval().to(dtype)
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        save_drawn(pathlib.Path(folder))
        return type(model).from_pretrained(folder, dtype=dtype).eval()


def save_drawn(folder: pathlib.Path) -> None:
    """Puts drawn weights in the place of saved ones; writes shapes.json."""
    import safetensors

    with safetensors.safe_open(folder / "model.safetensors", "np") as file:
        found = {k: file.get_slice(k).get_shape() for k in file.keys()}
    (folder / "shapes.json").write_text(json.dumps(found, indent=0))
    common.write_weights(folder)


def save(config, processor, folder: pathlib.Path):
    """Saves a checkpoint with drawn weights; returns the model."""
    folder.mkdir(parents=True, exist_ok=True)
    model = make_model(config)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    save_drawn(folder)
    return model


def inputs(processor) -> list[dict[str, np.ndarray]]:
    """What the processor makes of each conversation."""
    return [
        dict(
            processor.apply_chat_template(
                messages,
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="np",
            )
        )
        for messages in common.conversations()
    ]


def vision_features(model, found) -> list[np.ndarray]:
    """The output of every block of the vision tower."""
    tower = getattr(model.model, "vision_tower", None)
    tower = tower or getattr(model.model, "visual", None)
    tower = tower or model.model.vision_model
    encoder = getattr(tower, "encoder", tower)
    layers = getattr(encoder, "layers", None) or encoder.blocks
    kept = []
    hooks = [
        layer.register_forward_hook(
            lambda _, __, out: kept.append(
                (out[0] if isinstance(out, tuple) else out).numpy()
            )
        )
        for layer in layers
    ]
    with torch.no_grad():
        model(**found)
    for hook in hooks:
        hook.remove()
    return kept


def outputs(model, found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Logits, greedy tokens, and every block's output in the tower."""
    tensors = {k: torch.from_numpy(np.asarray(v)) for k, v in found.items()}
    length = tensors["input_ids"].shape[1]
    with torch.no_grad():
        result = {"logits": model(**tensors).logits[0].numpy()}
        said = model.generate(
            **tensors,
            max_new_tokens=GREEDY,
            do_sample=False,
            # We never say an image token; the reference would.
            suppress_tokens=[model.config.image_token_id],
        )
    result["greedy"] = said[0, length:].numpy()
    if "pixel_values" in found:
        blocks = vision_features(model, tensors)
        result |= {f"block_{i}": x for i, x in enumerate(blocks)}
    return result


def make(name: str, builder) -> None:
    """Writes one shape's folder."""
    folder = common.FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    config, processor = builder()
    model = save(config, processor, folder)
    arrays = {}
    for i, found in enumerate(inputs(processor)):
        arrays |= {f"{i}.in.{k}": v for k, v in found.items()}
        arrays |= {f"{i}.{k}": v for k, v in outputs(model, found).items()}
    np.savez_compressed(folder / "reference.npz", **arrays)
    (folder / "model.safetensors").unlink()


if __name__ == "__main__":
    everything = shapes()
    for wanted in sys.argv[1:] or everything:
        make(wanted, everything[wanted])
        print("made", wanted)
