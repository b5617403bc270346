"""Reading a dataset prepared by TFDS, without TensorFlow."""

import io
import json
import pathlib
import runpy
import sys

import numpy as np
import pytest
from PIL import Image

from vlm_games import workbench
from vlm_games.data.tfds_source import TfdsSource

ROOT = pathlib.Path(__file__).parents[1]

array_record_module = pytest.importorskip(
    "array_record.python.array_record_module"
)
COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0))


def encoded(colour) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 20), colour).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """What download_and_prepare leaves, made by hand: photos/1.0.0, train."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.proto import tf_example_generated_pb2

    data_dir = tmp_path_factory.mktemp("tfds")
    folder = data_dir / "photos" / "1.0.0"
    folder.mkdir(parents=True)
    tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.ClassLabel(num_classes=2),
        }
    ).save_config(folder)
    split = {
        "name": "train",
        "numBytes": "100",
        "shardLengths": [str(len(COLOURS))],
        "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
    }
    info = {
        "name": "photos",
        "version": "1.0.0",
        "fileFormat": "array_record",
        "moduleName": "photos",
        "splits": [split],
    }
    (folder / "dataset_info.json").write_text(json.dumps(info))
    writer = array_record_module.ArrayRecordWriter(
        str(folder / "photos-train.array_record-00000-of-00001"),
        "group_size:1",
    )
    for colour in COLOURS:
        example = tf_example_generated_pb2.Example()
        feature = example.features.feature
        feature["image"].bytes_list.value.append(encoded(colour))
        feature["label"].int64_list.value.append(1)
        writer.write(example.SerializeToString())
    writer.close()
    return data_dir


def test_prepared_dataset_is_read_without_tensorflow(data_dir):
    source = TfdsSource("photos", "train", 8, data_dir=data_dir)
    assert len(source) == 4 and "tensorflow" not in sys.modules
    assert source.names[1] == "photos/1.0.0/train/1"
    for image, colour in zip(source, COLOURS, strict=True):
        assert image.shape == (8, 8, 3) and image.dtype == np.uint8
        assert image[4, 4].tolist() == list(colour)
    assert source[-1][4, 4].tolist() == list(COLOURS[-1])


def test_slice_of_a_split_has_its_own_digest(data_dir):
    whole = TfdsSource("photos", "train", 8, data_dir=data_dir)
    part = TfdsSource("photos", "train[:2]", 8, data_dir=data_dir)
    assert len(part) == 2 and part.digest() != whole.digest()
    again = TfdsSource("photos", "train", 8, data_dir=data_dir)
    assert again.digest() == whole.digest()


@pytest.mark.parametrize(
    ("name", "split", "key", "message"),
    [
        ("mnist", "train", "image", r"not prepared(?s:.*)tfds build mnist"),
        ("phottos", "train", "image", "No dataset 'phottos'"),
        ("photos", "test", "image", "no split 'test'; it has train"),
        ("photos", "train", "label", "image features are: image"),
    ],
)
def test_what_is_missing_is_named(data_dir, name, split, key, message):
    with pytest.raises(ValueError, match=message):
        TfdsSource(name, split, 8, image_key=key, data_dir=data_dir)


def test_a_config_names_a_dataset_and_its_split(data_dir):
    c = runpy.run_path(str(ROOT / "configs" / "scenes.py"))["get_config"]()
    c.images, c.tfds_dir = "tfds:photos:train", str(data_dir)
    c.game.images = 2
    setup = workbench.build(c)
    # Half are held out: a game's worth on either side.
    assert list(setup.bench.images.names) == [
        "photos/1.0.0/train/1",
        "photos/1.0.0/train/3",
    ]
    assert setup.skipped == ()
