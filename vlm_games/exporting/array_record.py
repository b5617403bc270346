"""A dataset of TensorFlow Datasets, stored as ArrayRecord.

`tfds.data_source(...)` and `tfds.builder_from_directory(...)` open it; like
reading, writing needs no TensorFlow.
"""

import json
import pathlib
from collections.abc import Iterator

import numpy as np

from vlm_games.data.png import to_png
from vlm_games.exporting.conversations import (
    Row,
    row_from_fields,
    row_to_fields,
)
from vlm_games.exporting.gather import Export

NAME, VERSION, SPLIT = "vlm_games_export", "1.0.0", "train"
SHARD = f"{NAME}-{SPLIT}.array_record-00000-of-00001"


def write(export: Export, folder: pathlib.Path) -> None:
    """Writes NAME/VERSION under `folder`, which is then TFDS's data_dir."""
    from array_record.python import array_record_module
    from tensorflow_datasets.proto import tf_example_generated_pb2

    place = folder / NAME / VERSION
    place.mkdir(parents=True)
    _features().save_config(place)
    writer = array_record_module.ArrayRecordWriter(
        str(place / SHARD), "group_size:1"
    )
    written = 0
    for row in export.rows:
        found = tf_example_generated_pb2.Example()
        for name, values in _columns(row, export).items():
            feature = found.features.feature[name]
            # Named even where it is empty, or readers miss the feature.
            feature.bytes_list.SetInParent()
            feature.bytes_list.value.extend(values)
        content = found.SerializeToString()
        written += len(content)
        writer.write(content)
    writer.close()
    info = json.dumps(_info(export, written), indent=2)
    (place / "dataset_info.json").write_text(info, encoding="utf-8")


def read(folder: pathlib.Path) -> Iterator[tuple[Row, list[np.ndarray]]]:
    """(row, its images as uint8 [H, W, 3]) of what `write` wrote."""
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(folder / NAME / VERSION)
    source = builder.as_data_source(SPLIT)
    for number in range(len(source)):
        found = source[number]
        yield row_from_fields(json.loads(found["record"])), [*found["images"]]


def _features():
    import tensorflow_datasets as tfds

    text, features = tfds.features.Text(), tfds.features
    return features.FeaturesDict(
        {
            "id": text,
            "images": features.Sequence(features.Image(shape=(None, None, 3))),
            "image_ids": features.Sequence(text),
            "messages": features.Sequence({"role": text, "content": text}),
            "rejected": text,
            "record": text,
        }
    )


def _columns(row: Row, export: Export) -> dict[str, list[bytes]]:
    fields = {
        "id": [row.key],
        "image_ids": row.names,
        "messages/role": [m.role for m in row.messages],
        "messages/content": [m.text for m in row.messages],
        "rejected": [row.rejected or ""],
        "record": [json.dumps(row_to_fields(row))],
    }
    images = [to_png(export.pixels[i]) for i in row.example.images]
    return {
        "images": images,
        **{
            name: [text.encode("utf-8", "surrogateescape") for text in texts]
            for name, texts in fields.items()
        },
    }


def _info(export: Export, written: int) -> dict:
    split = {
        "name": SPLIT,
        "numBytes": str(written),
        "shardLengths": [str(len(export.rows))],
        "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
    }
    return {
        "name": NAME,
        "version": VERSION,
        "description": "Made by vlm_games; see README.md and provenance.json.",
        "fileFormat": "array_record",
        "moduleName": NAME,
        "splits": [split],
    }
