"""Writes LoRA adapters as PEFT saves them, and what PEFT makes of them.

    python -m reference.make_lora      (in tests/, extra `reference`, and peft)

Per adapter: the directory that PEFT wrote, and logits.npz with the logits of
the last tokens of each of `common.conversations`.
"""

import json
import pathlib
import shutil
import tempfile

import numpy as np
import peft
import torch

from reference import common, make

FOLDER = common.FOLDER.parent / "lora"
SHAPE = "llava"
KEPT = 12  # tokens of a conversation whose logits are kept
# What users write down; the second takes the unused blocks of the tower, too.
CONFIGS = {
    "language": peft.LoraConfig(
        r=4,
        lora_alpha=6,
        target_modules=r".*language_model.*\.(q_proj|v_proj)",
    ),
    "everything": peft.LoraConfig(
        r=3,
        lora_alpha=8,
        use_rslora=True,
        init_lora_weights="gaussian",
        target_modules=[
            *("q_proj", "k_proj", "v_proj", "o_proj", "out_proj"),
            *("gate_proj", "up_proj", "down_proj", "fc1", "fc2"),
            *("linear_1", "linear_2"),
        ],
        rank_pattern={"down_proj": 5},
        alpha_pattern={"layers.1.self_attn.q_proj": 2},
    ),
}


def draw(model) -> None:
    """Puts drawn weights in the place of all A and B.

    They are of the size that training gives them: far larger ones, and the
    model amplifies float32's own rounding beyond the tests' tolerance.
    """
    with torch.no_grad():
        for name, x in model.named_parameters():
            if ".lora_" in name:
                drawn = common.draw_weight(name, x.shape)
                x.copy_(0.3 * torch.from_numpy(drawn))


def tidy(path: pathlib.Path) -> None:
    """Takes out of adapter_config.json what differs from run to run."""
    fields = json.loads(path.read_text())
    fields["base_model_name_or_path"] = SHAPE
    if isinstance(fields["target_modules"], list):
        fields["target_modules"].sort()
    path.write_text(json.dumps(fields, indent=2) + "\n")


def write(name: str, config: peft.LoraConfig) -> None:
    """Writes one adapter's folder."""
    builder = make.shapes()[SHAPE]
    with tempfile.TemporaryDirectory() as folder:
        settings, processor = builder()
        base = make.save(settings, processor, pathlib.Path(folder))
        model = peft.get_peft_model(base, config).eval()
        draw(model)
        shutil.rmtree(FOLDER / name, ignore_errors=True)
        model.save_pretrained(FOLDER / name)
        (FOLDER / name / "README.md").unlink()
        tidy(FOLDER / name / "adapter_config.json")
        arrays = {}
        for i, found in enumerate(make.inputs(processor)):
            tensors = {k: torch.from_numpy(v) for k, v in found.items()}
            with torch.no_grad():
                logits = model(**tensors).logits[0, -KEPT:]
            arrays[str(i)] = logits.numpy()
    np.savez_compressed(FOLDER / name / "logits.npz", **arrays)


if __name__ == "__main__":
    for name, config in CONFIGS.items():
        write(name, config)
        print("made", name)
