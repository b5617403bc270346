"""Images of a dataset that TensorFlow Datasets has prepared as ArrayRecord."""

import hashlib
import io
import json
import operator
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from etils import epath

from vlm_games.data import decode
from vlm_games.data.images import Groups

_HOW_TO_PREPARE = """\
Prepare it once, where TensorFlow is installed (reading needs none):
  tfds build {name} --file_format=array_record --data_dir={data_dir}
or in Python:
  tfds.builder("{name}", data_dir="{data_dir}").download_and_prepare(
      file_format="array_record")"""

# Of features.json as protobuf writes and reads it, and of older ones.
_CLASS_KEYS = ("pythonClassName", "python_class_name", "type")


class TfdsSource:
    """A split of a prepared dataset, as squares, decoded at each access.

    Attributes:
      names: "<dataset>/<version>/<split>/<index>".
      groups: nothing is known; records are not read before they are asked for.
    """

    def __init__(
        self,
        name: str,
        split: str,
        size: int,
        image_key: str = "image",
        data_dir: str | os.PathLike = "~/tensorflow_datasets",
    ):
        """Opens the dataset; downloads and prepares nothing.

        Args:
          name: the dataset, with config and version if wanted ("coco/2017").
          split: TFDS split, slices included ("train[:1000]").
          size: side of the squares in pixels.
          image_key: the feature that holds the image.
          data_dir: where the dataset was prepared.

        Raises:
          ValueError: not prepared there, not as ArrayRecord, or without such
            a split or image feature.
        """
        data_dir = os.path.expanduser(os.fspath(data_dir))
        builder = _open_builder(name, data_dir)
        self._size = size
        self._key = image_key
        self._records = _open_split(builder, name, split, image_key, data_dir)
        prefix = f"{builder.info.full_name}/{split}"
        self.names = tuple(f"{prefix}/{i}" for i in range(len(self._records)))
        self.groups = Groups.unknown(len(self.names))

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> np.ndarray:
        """Image `index` as read-only uint8 [size, size, 3], RGB."""
        name = self.names[operator.index(index)]
        record = self._records[operator.index(index) % len(self)]
        encoded = _image_file(record, self._key)
        try:
            return decode.decode_square(io.BytesIO(encoded), self._size)
        except decode.UnreadableImageError as error:
            raise decode.UnreadableImageError(f"{name}: {error}") from error

    def digest(self) -> str:
        """Of dataset, version, split, length and `size`; reads no image."""
        text = f"tfds {self._size}\n" + "\n".join(self.names)
        return hashlib.sha256(text.encode()).hexdigest()


def _image_file(record: bytes, key: str) -> bytes:
    """The encoded image in a record, which is a tf.train.Example."""
    from tensorflow_datasets.proto import tf_example_generated_pb2

    example = tf_example_generated_pb2.Example.FromString(record)
    return example.features.feature[key].bytes_list.value[0]


def _open_builder(name: str, data_dir: str) -> Any:
    # Imported here: it takes seconds, and only those who use it should wait.
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import read_only_builder

    advice = _HOW_TO_PREPARE.format(name=name, data_dir=data_dir)
    _refuse_code(epath.Path(data_dir), name)
    try:
        # From its files alone: the code of some datasets needs TensorFlow.
        builder = read_only_builder.builder_from_files(name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as error:
        raise ValueError(
            f"Dataset {name!r} is not prepared: nothing of it is under "
            f"{data_dir}. Its config, if it has several, belongs to the name "
            f"(coco/2017).\n{advice}"
        ) from error
    if not builder.info.splits:
        raise ValueError(
            f"Dataset {name!r} is not prepared: {builder.data_path} holds no "
            f"split.\n{advice}"
        )
    _refuse_outside(builder, data_dir)
    return builder


def _refuse_code(data_dir: epath.Path, name: str) -> None:
    """Raises ValueError if opening the dataset would run code that it names,
    or if it lies elsewhere."""
    first, *rest = name.split("/")
    if ".." in rest or first in ("", ".", ".."):
        raise ValueError(f"Dataset {name!r} is not a folder of {data_dir}.")
    plain = first.replace("_", "").lower()  # TFDS takes CamelCase too
    for folder in data_dir.iterdir() if data_dir.is_dir() else ():
        if folder.name.replace("_", "").lower() != plain:
            continue
        # <dataset>/[<config>/]<version>/features.json
        for depth in ("*", "*/*"):
            for path in folder.glob(f"{depth}/features.json"):
                _refuse_classes(path)


def _refuse_classes(path: epath.Path) -> None:
    """Raises ValueError if a features.json names classes that are not TFDS's.

    TFDS imports the module of every feature class in it.
    """
    for feature in _feature_classes(json.loads(path.read_bytes())):
        if not feature.startswith("tensorflow_datasets."):
            raise ValueError(
                f"{path} names the feature class {feature!r}, whose module "
                "would be imported; only those of tensorflow_datasets are read."
            )


def _feature_classes(node: Any) -> Iterator[str]:
    """Every class that a features.json names, of any of its versions."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in _CLASS_KEYS and isinstance(value, str):
                yield value
            else:
                yield from _feature_classes(value)
    elif isinstance(node, list):
        for value in node:
            yield from _feature_classes(value)


def _refuse_outside(builder: Any, data_dir: str) -> None:
    """Raises ValueError if the dataset's own info names files elsewhere."""
    for split in builder.info.splits.values():
        for path in split.filepaths:
            # By its name: links to where the bytes lie are the user's own.
            real = pathlib.Path(os.path.abspath(path))
            if not real.is_relative_to(os.path.abspath(data_dir)):
                raise ValueError(
                    f"{builder.info.full_name} names the file {real}, which "
                    f"lies outside of {data_dir}; it is not read."
                )


def _open_split(
    builder: Any, name: str, split: str, image_key: str, data_dir: str
) -> Any:
    import tensorflow_datasets as tfds

    features = dict(builder.info.features)
    if not isinstance(features.get(image_key), tfds.features.Image):
        images = [
            key
            for key, feature in features.items()
            if isinstance(feature, tfds.features.Image)
        ]
        raise ValueError(
            f"Dataset {name!r} has no image feature {image_key!r}; its image "
            f"features are: {', '.join(images) or 'none'}."
        )
    try:
        # As they lie on disk: labels are never decoded, and files are treated
        # as those of a folder are.
        records = builder.as_data_source(
            split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
        )
    except NotImplementedError as error:
        advice = _HOW_TO_PREPARE.format(name=name, data_dir=data_dir)
        raise ValueError(
            f"Dataset {name!r} in {builder.data_path} is not prepared as "
            f"ArrayRecord, which random access needs.\n{advice}"
        ) from error
    except ValueError as error:
        raise ValueError(
            f"Dataset {name!r} has no split {split!r}; it has "
            f"{', '.join(builder.info.splits)}."
        ) from error
    return records
