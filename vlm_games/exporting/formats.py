"""The formats by name, and what stands beside the data in each of them."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Mapping

import numpy as np

from vlm_games.data.examples import Example
from vlm_games.exporting import array_record, llava, parquet
from vlm_games.exporting.card import card
from vlm_games.exporting.conversations import Row, to_examples
from vlm_games.exporting.gather import Export

PROVENANCE, CARD = "provenance.json", "README.md"


@dataclasses.dataclass(frozen=True)
class Format:
    """How an export is stored.

    Attributes:
      write: (export, empty folder). read: (folder) -> rows with their images.
      pairs: whether it holds preferences. about: in a sentence, for the card.
    """

    write: Callable
    read: Callable
    pairs: bool
    about: str


FORMATS: Mapping[str, Format] = {
    "parquet": Format(
        parquet.write,
        parquet.read,
        False,
        f"`{parquet.FILE}` has the columns `messages` and `images` that TRL's "
        "SFTTrainer takes.",
    ),
    "dpo": Format(
        parquet.write,
        parquet.read,
        True,
        f"`{parquet.FILE}` has the columns `prompt`, `chosen`, `rejected` and "
        "`images` that TRL's DPOTrainer takes.",
    ),
    "llava": Format(
        llava.write,
        llava.read,
        False,
        f"`{llava.FILE}` is LLaVA's list of conversations; its images lie in "
        f"`{llava.IMAGES}/`.",
    ),
    "array_record": Format(
        array_record.write,
        array_record.read,
        False,
        f"A dataset of TFDS: `tfds.data_source('{array_record.NAME}', "
        f"split='{array_record.SPLIT}', data_dir=<this folder>)`.",
    ),
}


@dataclasses.dataclass(frozen=True)
class Imported:
    """An export that was read back.

    Attributes:
      examples: by stream, as the run learned them.
      pixels: by the images' numbers in the examples, uint8 [H, W, 3].
      provenance: as it was written.
    """

    examples: Mapping[str, list[Example]]
    pixels: Mapping[int, np.ndarray]
    provenance: Mapping[str, object]


def write(export: Export, name: str, output: str | os.PathLike) -> None:
    """Writes data, provenance and card.

    Raises:
      FileExistsError: there is something at `output`.
      ValueError: what the format needs is not installed.
    """
    folder = pathlib.Path(output)
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(
            f"{folder} is not empty: give --output a new folder."
        )
    folder.mkdir(parents=True, exist_ok=True)
    FORMATS[name].write(export, folder)
    provenance = {"format": name, **export.provenance}
    text = json.dumps(provenance, indent=2) + "\n"
    (folder / CARD).write_text(
        card(export, FORMATS[name].about), encoding="utf-8"
    )
    # Last: who finds it finds everything.
    (folder / PROVENANCE).write_text(text, encoding="utf-8")


def read(folder: str | os.PathLike) -> Imported:
    """Reads any export.

    Raises:
      FileNotFoundError: the folder holds no whole export.
    """
    folder = pathlib.Path(folder)
    path = folder / PROVENANCE
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} holds no export, or one that broke off: it has no "
            f"{PROVENANCE}."
        )
    provenance = json.loads(path.read_text(encoding="utf-8"))
    rows: list[Row] = []
    pixels: dict[int, np.ndarray] = {}
    for row, images in FORMATS[provenance["format"]].read(folder):
        rows.append(row)
        pixels |= zip(row.example.images, images, strict=True)
    return Imported(to_examples(rows), pixels, provenance)
