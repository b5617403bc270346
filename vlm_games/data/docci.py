"""DOCCI (arXiv 2404.19753) as its owners publish it, captions left aside.

    docci_metadata.jsonlines    example_id ("train_00000"), cluster_id, ...
    images/                     of docci_images.tar.gz: train_00000.jpg, ...

Related photographs share a cluster: the sets of VLM Dialog Games.
"""

from etils import epath

from vlm_games.data.file_source import FileSource, join
from vlm_games.data.manifest import ManifestError, Row, json_rows, open_rows

METADATA = "docci_metadata.jsonlines"
SPLITS = ("train", "test", "qual_dev", "qual_test")


def open_docci(
    folder: str, split: str, size: int, workers: int | None = None
) -> FileSource:
    """The photographs of a split, in clusters.

    Args:
      folder: that holds METADATA and images/. split: one of SPLITS.
      size: side of the squares in pixels.
      workers: threads; None takes one per core, at most 8.

    Raises:
      ManifestError: an unknown split, or metadata that are not DOCCI's.
      FileNotFoundError: there are no metadata.
    """
    if split not in SPLITS:
        raise ManifestError(
            f"DOCCI has no split {split!r}; it has {', '.join(SPLITS)}."
        )
    path = join(folder, METADATA)
    file = epath.Path(path)
    if not file.exists():
        raise FileNotFoundError(
            f"There is no {path}. Get {METADATA} and docci_images.tar.gz from "
            "https://google.github.io/docci, and unpack the images beside it."
        )
    rows = []
    for line, fields in json_rows(file.read_text(encoding="utf-8"), path):
        name = fields.get("example_id")
        if not isinstance(name, str) or "_" not in name or "/" in name:
            raise ManifestError(
                f"{line}: example_id is {name!r}; expected one such as "
                "'train_00000'. Is it the file that DOCCI's owners publish?"
            )
        if name.rpartition("_")[0] != split:
            continue
        cluster = fields.get("cluster_id")
        rows.append(
            Row(
                line,
                f"images/{name}.jpg",
                name,
                cluster=None if cluster is None else str(cluster),
            )
        )
    return open_rows(rows, path, size, workers=workers)
