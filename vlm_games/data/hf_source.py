"""Images of a dataset of the Hugging Face library `datasets` (extra `hf`)."""

import dataclasses
import hashlib
import io
import operator
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from vlm_games.data import decode
from vlm_games.data.images import Groups, number, units_of

COLUMNS = ("cluster", "episode", "task")


class HfSource:
    """A split, as squares, decoded at each access from the Arrow files.

    Attributes:
      names: values of its column `id`, or "<dataset>/<split>/<index>".
      groups: of its columns `cluster`, `episode`, `task` and `step`, if any.
    """

    def __init__(
        self, name: str, split: str, size: int, image_key: str | None = None
    ):
        """Opens the dataset; only a name of the hub makes it use the network.

        No code of a dataset is run: `datasets` has not done so since 4.0.

        Args:
          name: a directory that `save_to_disk` wrote, a folder of Parquet
            files, or a dataset of the hub.
          split: of the dataset, slices included ("train[:1000]").
          size: side of the squares in pixels.
          image_key: column that holds the images; None if there is but one.

        Raises:
          ValueError: no such dataset, split or column, or the extra is not
            installed.
        """
        rows = _load(name, split)
        self._key = _image_column(rows, name, image_key)
        self._rows, self._size = _undecoded(rows, self._key), size
        self._fingerprint = rows._fingerprint
        self.names = _names(rows, name, split)
        columns = [key for key in COLUMNS if key in rows.column_names]
        known = {f"{key}s": number(rows[key][:]) for key in columns}
        if "step" in rows.column_names:
            known["steps"] = _steps(rows["step"][:], name)
        groups = Groups.unknown(len(rows), **known)
        units = units_of(groups.episodes, groups.clusters)
        self.groups = dataclasses.replace(groups, units=units)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> np.ndarray:
        """Image `index` as read-only uint8 [size, size, 3], RGB."""
        name = self.names[operator.index(index)]
        found = self._rows[operator.index(index) % len(self)][self._key]
        file = found["path"]
        if found["bytes"] is not None:
            file = io.BytesIO(found["bytes"])
        try:
            return decode.decode_square(file, self._size)
        except decode.UnreadableImageError as error:
            raise decode.UnreadableImageError(f"{name}: {error}") from error

    def digest(self) -> str:
        """Of what `datasets` says the rows were made from, and `size`."""
        text = f"hf {self._size} {self._key} {len(self)} {self._fingerprint}"
        return hashlib.sha256(text.encode()).hexdigest()


def _load(name: str, split: str) -> Any:
    # Imported here: it takes seconds, and is an extra.
    try:
        import datasets
    except ImportError as error:
        raise ValueError(
            "Datasets of Hugging Face are read with the library `datasets`: "
            "install it with pip install 'vlm_games[hf]'."
        ) from error
    try:
        if os.path.isfile(os.path.join(name, "state.json")):
            return datasets.load_from_disk(name)
        if os.path.isfile(os.path.join(name, "dataset_dict.json")):
            return datasets.load_from_disk(name)[split]
        return datasets.load_dataset(name, split=split)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ValueError(
            f"Dataset hf:{name}:{split} cannot be opened "
            f"({type(error).__name__}: {error}). Give hf:<name of the hub or "
            "directory>:<split>."
        ) from error


def _image_column(rows: Any, name: str, wanted: str | None) -> str:
    import datasets

    images = [
        key
        for key, feature in rows.features.items()
        if isinstance(feature, datasets.Image)
    ]
    if wanted is None and len(images) == 1:
        return images[0]
    if wanted is None or wanted not in images:
        raise ValueError(
            f"Dataset hf:{name} has the image columns {images}; "
            f"{'none' if wanted is None else repr(wanted)} was asked for. "
            "There must be one."
        )
    return wanted


def _undecoded(rows: Any, key: str) -> Any:
    """Only the images, as the files that they were."""
    import datasets

    return rows.select_columns([key]).cast_column(
        key, datasets.Image(decode=False)
    )


def _steps(values: Sequence[Any], name: str) -> np.ndarray:
    """int64 [n]; where there is none, the row's own number."""
    steps = [i if value is None else value for i, value in enumerate(values)]
    if not all(isinstance(step, int) for step in steps):
        raise ValueError(
            f"Dataset hf:{name}: its column step holds other things than whole "
            "numbers; rename it, or make it one."
        )
    return np.array(steps, np.int64)


def _names(rows: Any, name: str, split: str) -> tuple[str, ...]:
    prefix = f"{os.path.basename(name.rstrip('/'))}/{split}"
    names = tuple(f"{prefix}/{i}" for i in range(len(rows)))
    if "id" in rows.column_names:
        ids = tuple(str(value) for value in rows["id"][:])
        if len(set(ids)) == len(ids):
            return ids
    return names
