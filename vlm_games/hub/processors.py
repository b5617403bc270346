"""Config and processor of a checkpoint directory, through transformers.

Processors come with image processors that run on Pillow: neither PyTorch nor
torchvision is needed, and no code from the directory is run.
"""

import json
import pathlib
from typing import Any


def load_config(folder) -> dict[str, Any]:
    """config.json with the defaults that transformers fills in.

    Raises:
      FileNotFoundError: there is no config.json.
      ValueError: transformers does not know its model_type.
    """
    path = pathlib.Path(folder) / "config.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} has no config.json: give the folder of a checkpoint, as "
            "it is on the hub."
        )
    return read_config(path)


def read_config(path: pathlib.Path) -> dict[str, Any]:
    """As `load_config`, of a file of any name."""
    import transformers

    fields = json.loads(path.read_text(encoding="utf-8"))
    if "model_type" not in fields and "decoder" in fields:
        raise ValueError(
            f"{path.parent} is a model of vlm_games' own: runs and evaluate "
            f"take it as --config.base={path.parent} or --base, Python loads "
            "it with vlm_games.base_model.load_base."
        )
    try:
        kind = transformers.CONFIG_MAPPING[fields["model_type"]]
    except KeyError:
        raise ValueError(
            f"{path} says model_type={fields.get('model_type')!r}, which "
            "transformers does not know; is this a model directory?"
        ) from None
    return kind.from_dict(fields).to_dict()


def load_processor(folder, fields: dict[str, Any], name: str = ""):
    """The checkpoint's own processor, its images through Pillow.

    Args:
      folder: the directory. fields: from `load_config`.
      name: of the class in transformers; by the model_type if empty.
    """
    import transformers

    config = transformers.CONFIG_MAPPING[fields["model_type"]]
    kind = transformers.PROCESSOR_MAPPING[config]
    if name:
        kind = getattr(transformers, name)
    return without_video(kind).from_pretrained(
        str(folder),
        backend="pil",
        local_files_only=True,
        trust_remote_code=False,
    )


def normalisation(processor: Any) -> dict[str, Any]:
    """Per-channel `mean` and `std` by which the processor normalises pixels.

    They are its own matter: config.json does not have them.
    """
    images = processor.image_processor
    if not images.do_normalize:
        return {"mean": (0.0,) * 3, "std": (1.0,) * 3}
    return {"mean": tuple(images.image_mean), "std": tuple(images.image_std)}


def without_video(kind: Any) -> Any:
    """A processor class of transformers, less the part that reads videos.

    That part cannot even be made without torchvision.
    """

    def get_attributes(cls) -> list[str]:
        return [x for x in kind.get_attributes() if x != "video_processor"]

    changes = {"get_attributes": classmethod(get_attributes)}
    return type(kind.__name__, (kind,), changes)
