"""Parquet with the columns that TRL and `datasets` look for.

    likelihood   messages, images
    pairs        prompt, chosen, rejected, images

Beside them stand the row's name, the names of its images and `record`, the
row as JSON, from which it comes back.
"""

import itertools
import json
import pathlib
from collections.abc import Iterator

import numpy as np

from vlm_games.data.examples import IMAGE
from vlm_games.data.png import from_png, to_png
from vlm_games.exporting.conversations import (
    Message,
    Row,
    row_from_fields,
    row_to_fields,
)
from vlm_games.exporting.gather import Export

FILE = "train.parquet"
ROWS = 512  # written at a time, so that a long export needs little memory


def write(export: Export, folder: pathlib.Path) -> None:
    """Writes FILE.

    Raises:
      ValueError: pyarrow is missing.
    """
    pa, parquet = _pyarrow()
    schema = _schema(pa, export)
    with parquet.ParquetWriter(folder / FILE, schema) as writer:
        rows = iter(export.rows)
        while part := list(itertools.islice(rows, ROWS)):
            found = [_columns(row, export) for row in part]
            writer.write_table(pa.Table.from_pylist(found, schema))


def read(folder: pathlib.Path) -> Iterator[tuple[Row, list[np.ndarray]]]:
    """(row, its images as uint8 [H, W, 3]) of what `write` wrote."""
    _, parquet = _pyarrow()
    with parquet.ParquetFile(folder / FILE) as file:
        for batch in file.iter_batches(ROWS, columns=["record", "images"]):
            for found in batch.to_pylist():
                images = [from_png(x["bytes"]) for x in found["images"]]
                yield row_from_fields(json.loads(found["record"])), images


def _columns(row: Row, export: Export) -> dict:
    images = [
        {"bytes": to_png(export.pixels[i]), "path": None}
        for i in row.example.images
    ]
    columns = {
        "id": row.key,
        "images": images,
        "image_ids": list(row.names),
        "record": json.dumps(row_to_fields(row)),
    }
    said = [_chat(message) for message in row.messages]
    if not export.pairs:
        return columns | {"messages": said}
    rejected = Message(row.messages[-1].role, row.rejected or "")
    return columns | {
        "prompt": said[:-1],
        "chosen": said[-1:],
        "rejected": [_chat(rejected)],
    }


def _chat(message: Message) -> dict:
    """As chat templates take it, images where they stand in the text."""
    content = []
    for number, text in enumerate(message.text.split(IMAGE)):
        if number:
            content.append({"type": "image", "text": None})
        if text.strip():
            content.append({"type": "text", "text": text})
    return {"role": message.role, "content": content}


def _schema(pa, export: Export):
    """Columns with their types, and what `datasets` is to make of them."""
    text = pa.string()
    part = pa.struct([("type", text), ("text", text)])
    chat = pa.list_(pa.struct([("role", text), ("content", pa.list_(part))]))
    names = ("prompt", "chosen", "rejected") if export.pairs else ("messages",)
    image = pa.struct([("bytes", pa.binary()), ("path", text)])
    fields = [
        ("id", text),
        *((name, chat) for name in names),
        ("images", pa.list_(image)),
        ("image_ids", pa.list_(text)),
        ("record", text),
    ]
    value = {"dtype": "string", "_type": "Value"}
    said = {
        "role": value,
        "content": {
            "feature": {"type": value, "text": value},
            "_type": "List",
        },
    }
    features = {
        "id": value,
        **{name: {"feature": said, "_type": "List"} for name in names},
        "images": {"feature": {"_type": "Image"}, "_type": "List"},
        "image_ids": {"feature": value, "_type": "List"},
        "record": value,
    }
    return pa.schema(
        fields,
        {
            "huggingface": json.dumps({"info": {"features": features}}),
            "provenance": json.dumps(export.provenance),
        },
    )


def _pyarrow():
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ValueError(
            "Parquet needs pyarrow: pip install 'vlm_games[exports]'."
        ) from error
    return pyarrow, pyarrow.parquet
