"""A run's improved model as a directory of its base's own format.

    python -m vlm_games.export --workdir=/tmp/run --output=/tmp/improved

Of a public family: what transformers and vLLM open; with --adapters what PEFT
opens. Of ours: what `config.base` takes.
"""

import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import jax
from absl import flags

from vlm_games import command_line
from vlm_games.base_model import is_public
from vlm_games.data import storage
from vlm_games.data.workdir import Workdir, WorkdirError
from vlm_games.hub import peft
from vlm_games.hub.pretrained import find_folder, load_pretrained
from vlm_games.models.checkpoint import WEIGHTS, load_model, save_model
from vlm_games.models.shipped import find_shipped
from vlm_games.training import checkpoint, lora
from vlm_games.workbench import find_iteration

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.")
_OUTPUT = flags.DEFINE_string("output", None, "Folder to write.")
_ARM = flags.DEFINE_string("arm", "main", "Arm of the run.")
_ITERATION = flags.DEFINE_integer("iteration", None, "The last if not given.")
_DRY_RUN = command_line.define_dry_run()
_ADAPTERS = flags.DEFINE_bool(
    "adapters", False, "Only the adapters, in PEFT's format."
)


def export(folder: pathlib.Path, config: dict, output, adapters: bool) -> None:
    """Writes the model of an iteration, or its adapters.

    Args:
      folder: of the iteration. config: the run's, from its config.json.

    Raises:
      ValueError: adapters of a run that trained none, of a base of ours, or
        of a later iteration, whose adapters belong to the model before it.
    """
    path = find_folder(str(find_shipped(config["base"])))
    if adapters:
        return _export_adapters(folder, config, path, output)
    if is_public(path):
        vlm = load_pretrained(path, config["dtype"])
        vlm.params = checkpoint.load(folder / "checkpoint", vlm.params)
        return vlm.save_pretrained(output)
    model, params = load_model(path)
    params = jax.tree.map(lambda x: x.astype(config["dtype"]), params)
    save_model(output, model, checkpoint.load(folder / "checkpoint", params))
    for file in path.iterdir():
        if (
            file.name != WEIGHTS
            and not (pathlib.Path(output) / file.name).exists()
        ):
            shutil.copyfile(file, pathlib.Path(output) / file.name)
    return None


def _export_adapters(folder, config: dict, path, output) -> None:
    if not config["train"]["lora"]["rank"] or not is_public(path):
        raise ValueError(
            "There are no adapters for PEFT: the run trained none "
            "(config.train.lora.rank=0), or its base is of no public family."
        )
    if config["train"]["start"] == "last" and folder.name != "iter_001":
        raise ValueError(
            f"The adapters of {folder.name} belong to the model of the "
            "iteration before, not to the base: export the whole model, or run "
            "with config.train.start='base'."
        )
    trained = sorted(folder.glob("training/*/adapters"))
    if len(trained) != 1:
        raise ValueError(
            f"{folder} holds adapters of {len(trained)} stages of training, "
            "each to the model before it; of one stage alone they can be "
            "exported. Export the whole model."
        )
    vlm = load_pretrained(path, config["dtype"])
    fields = dict(config["train"]["lora"])
    fields |= {k: tuple(fields[k]) for k in ("targets", "parts")}
    lora_config = lora.LoraConfig(**fields)
    like = lora.init(lora_config, vlm.params, jax.random.key(0))
    found = checkpoint.load(trained[0], like)
    peft.save_adapters(
        output, lora_config, found, vlm.config, vlm.family, vlm.stored
    )


def describe(
    folder: pathlib.Path, config: Mapping[str, Any], output: str, adapters: bool
) -> str:
    """What `export` would read and write; only sizes of files are looked at."""
    what = "adapters for PEFT" if adapters else "whole model"
    read = folder / "checkpoint"
    size = sum(file.size for file in storage.files_in(read).values())
    exists = pathlib.Path(output).exists()
    there = ", which exists and is written into" if exists else ""
    return (
        f"{what} of {folder}, a {config['method']} run from "
        f"{config['base'] or 'the shipped base'}, in {config['dtype']}\n"
        f"reads  {read}: {size / 2**20:,.1f} MiB, and the base beside it\n"
        f"writes {output}{there}: no more than that"
    )


def main() -> None:
    workdir = str(_WORKDIR.value)
    output = str(storage.local("--output", str(_OUTPUT.value)))
    folder = find_iteration(workdir, _ARM.value, _ITERATION.value)
    config = Workdir(workdir).config()
    if _DRY_RUN.value:
        print(describe(folder, config, output, _ADAPTERS.value))
        return
    export(folder, config, output, _ADAPTERS.value)
    what = "adapters" if _ADAPTERS.value else "model"
    print(f"wrote {output}: the {what} of {folder}")


if __name__ == "__main__":
    command_line.run(main, ["workdir", "output"], (WorkdirError,))
