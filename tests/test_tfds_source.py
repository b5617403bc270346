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
from vlm_games.data.fetch import fetch
from vlm_games.data.opening import open_source, split_name
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


def prepare(folder, features, info: dict, examples) -> None:
    """Writes what download_and_prepare leaves, by hand: one split, train.

    Args:
      folder: of the version. features: tfds.features.FeaturesDict.
      info: of dataset_info.json. examples: what each has, by feature.
    """
    from tensorflow_datasets.proto import tf_example_generated_pb2

    folder.mkdir(parents=True)
    features.save_config(folder)
    split = {
        "name": "train",
        "numBytes": "100",
        "shardLengths": [str(len(examples))],
        "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
    }
    info = {"fileFormat": "array_record", "splits": [split], **info}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    writer = array_record_module.ArrayRecordWriter(
        str(folder / f"{info['name']}-train.array_record-00000-of-00001"),
        "group_size:1",
    )
    for fields in examples:
        example = tf_example_generated_pb2.Example()
        for key, values in fields.items():
            feature = example.features.feature[key]
            kind = {bytes: "bytes_list", int: "int64_list"}
            getattr(feature, kind[type(values[0])]).value.extend(values)
        writer.write(example.SerializeToString())
    writer.close()


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """photos/1.0.0, train."""
    import tensorflow_datasets as tfds

    data_dir = tmp_path_factory.mktemp("tfds")
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.ClassLabel(num_classes=2),
        }
    )
    info = {"name": "photos", "version": "1.0.0", "moduleName": "photos"}
    prepare(
        data_dir / "photos" / "1.0.0",
        features,
        info,
        [{"image": [encoded(c)], "label": [1]} for c in COLOURS],
    )
    return data_dir


def described(preset: str):
    """The features that TFDS gives the dataset, labels and all."""
    import tensorflow_datasets as tfds

    def label(count: int):
        return tfds.features.ClassLabel(num_classes=count)

    if preset == "coco":
        objects = {
            "area": np.int64,
            "bbox": tfds.features.BBoxFeature(),
            "id": np.int64,
            "is_crowd": np.bool_,
            "label": label(80),
        }
        more = {"image/id": np.int64}
    else:
        objects = {"label": label(7), "confidence": np.int32}
        boxes = {"label": label(7), "bbox": tfds.features.BBoxFeature()}
        more = {"bobjects": tfds.features.Sequence(boxes)}
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(),
            "image/filename": tfds.features.Text(),
            "objects": tfds.features.Sequence(objects),
            **more,
        }
    )


@pytest.mark.parametrize(
    ("preset", "version"), [("coco", "1.1.0"), ("open_images", "2.0.0")]
)
def test_a_preset_reads_its_dataset_as_tfds_prepares_it(
    tmp_path, preset, version
):
    """The true name, config and features; labels are not looked at."""
    file = runpy.run_path(str(ROOT / "configs" / f"{preset}.py"))
    c = file["get_config"]()
    kind, name, split = split_name(c.images)
    dataset, kept = name.split("/")
    info = {
        "name": dataset,
        "version": version,
        "configName": kept,
        "moduleName": dataset,
    }
    examples = [
        {"image": [encoded(colour)], "objects/label": [3, 4]}
        for colour in COLOURS
    ]
    folder = tmp_path / dataset / kept / version
    prepare(folder, described(preset), info, examples)
    c.images, c.tfds_dir = f"tfds:{name}:train", str(tmp_path)
    source, skipped = open_source(c, 8)
    assert kind == "tfds" and len(source) == 4 and not skipped
    assert source.names[2] == f"{name}/{version}/train/2"
    assert source[2][4, 4].tolist() == list(COLOURS[2])
    assert split.startswith("train[:") and "tensorflow" not in sys.modules


def test_several_threads_read_the_same_images(data_dir):
    source = TfdsSource("photos", "train", 8, data_dir=data_dir)
    found = fetch(source, [i % 4 for i in range(200)], workers=8)
    colours = np.array(COLOURS)[np.arange(200) % 4]
    np.testing.assert_array_equal(found[:, 4, 4], colours)


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
        ("coco/2014", "train", "image", r"not prepared(?s:.*)tfds build coco"),
        ("phottos", "train", "image", "'phottos' is not prepared"),
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
