"""LLaVA's format: a JSON list of conversations beside a folder of images.

LLaVA names one file per conversation; where a game shows several, `image`
is a list of them, as LLaVA-NeXT's and LLaVA-OneVision's loaders take it.
"""

import json
import pathlib
from collections.abc import Iterator

import numpy as np

from vlm_games.data.png import from_png, to_png
from vlm_games.exporting.conversations import (
    USER,
    Row,
    row_from_fields,
    row_to_fields,
)
from vlm_games.exporting.gather import Export

FILE, IMAGES = "train.json", "images"


def write(export: Export, folder: pathlib.Path) -> None:
    """Writes FILE, and every picture once."""
    (folder / IMAGES).mkdir()
    for number, pixels in export.pixels.items():
        (folder / _place(number)).write_bytes(to_png(pixels))
    found = [_conversation(row) for row in export.rows]
    text = json.dumps(found, indent=1)
    (folder / FILE).write_text(text, encoding="utf-8")


def read(folder: pathlib.Path) -> Iterator[tuple[Row, list[np.ndarray]]]:
    """(row, its images as uint8 [H, W, 3]) of what `write` wrote."""
    found = json.loads((folder / FILE).read_text(encoding="utf-8"))
    for entry in found:
        row = row_from_fields(entry["record"])
        files = [folder / _place(i) for i in row.example.images]
        yield row, [from_png(file.read_bytes()) for file in files]


def _place(number: int) -> str:
    return f"{IMAGES}/{number:06d}.png"


def _conversation(row: Row) -> dict:
    files = [_place(i) for i in row.example.images]
    shown: dict = {}
    if files:  # text alone names none
        shown["image"] = files[0] if len(files) == 1 else files
    return {
        "id": row.key,
        **shown,
        "conversations": [
            {
                "from": "human" if message.role == USER else "gpt",
                "value": message.text,
            }
            for message in row.messages
        ],
        "record": row_to_fields(row),
    }
