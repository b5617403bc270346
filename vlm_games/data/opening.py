"""From what `config.images` says to a source.

/data/photos, gs://bucket/photos        a folder with its subfolders
/data/photos/**/left_*.jpg              a pattern
/data/robot/frames.jsonl, ...csv        a manifest
tfds:coco/2017:train[:1000]             of TensorFlow Datasets
hf:beans:train                          of Hugging Face, or saved to disk
docci:/data/docci:train                 DOCCI as its owners publish it
"""

import os
import re

from vlm_games.data.disk_cache import CachedSource
from vlm_games.data.docci import open_docci
from vlm_games.data.file_source import count_files, open_folder
from vlm_games.data.hf_source import HfSource
from vlm_games.data.images import ImageSource
from vlm_games.data.listing import is_remote
from vlm_games.data.manifest import SUFFIXES, open_manifest, read_rows
from vlm_games.data.tfds_source import TfdsSource

KINDS = ("tfds", "hf", "docci")


def open_source(config, size: int) -> tuple[ImageSource, list[str]]:
    """The source that `config.images` names, cached if the config says so.

    Args:
      config: with `images` and the fields beside it.
      size: side of the squares in pixels.

    Returns:
      the source, and a line for each file that it had to skip.

    Raises:
      ValueError, OSError: naming what is at fault.
    """
    source = _open(config, size)
    skipped = getattr(source, "skipped", ())
    if config.image_cache:
        folder = os.path.expanduser(config.image_cache)
        source = CachedSource(source, folder, size)
    return source, [f"{s.path}: {s.reason}" for s in skipped]


def _open(config, size: int) -> ImageSource:
    named, workers = os.path.expanduser(config.images), config.image_workers
    kind, rest, split = split_name(named)
    if kind == "tfds":
        return TfdsSource(rest, split, size, data_dir=config.tfds_dir)
    if kind == "hf":
        return HfSource(rest, split, size)
    if kind == "docci":
        return open_docci(rest, split, size, workers)
    if named.endswith(SUFFIXES):
        anywhere = config.image_paths == "any"
        return open_manifest(named, size, absolute=anywhere, workers=workers)
    return open_folder(named, size, workers)


def count_images(config) -> int | None:
    """Images that `config.images` names, before broken files are passed over.

    None of them is opened, and the network is not asked: None of the rendered
    world, of a dataset or of a bucket.

    Raises:
      ValueError, OSError: as `open_source`.
    """
    named = os.path.expanduser(config.images)
    if not named or split_name(named)[0] or is_remote(named):
        return None
    if named.endswith(SUFFIXES):
        return len(read_rows(named))
    return count_files(named)


def check_enough(config, found: int) -> None:
    """Raises ValueError if `found` images are too few for games."""
    n = config.game.images
    if found < 2 * n:
        images = "image" if found == 1 else "images"
        raise ValueError(
            f"config.images={config.images!r} holds {found} readable "
            f"{images}; games of {n} images need at least {2 * n}: {n} to play "
            "on and as many held out. Give more images, or lower "
            "config.game.images."
        )


def split_name(named: str) -> tuple[str, str, str]:
    """("tfds", "coco/2017", "train[:9]") of "tfds:coco/2017:train[:9]".

    The split is "train" where there is none; the kind is "" of a path.
    """
    kind, _, rest = named.partition(":")
    if kind not in KINDS or rest.startswith("//"):
        return "", named, ""
    found = re.fullmatch(r"(.*):(\w+(?:\[.*\])?)", rest)
    if found is None:
        return kind, rest, "train"
    return kind, found[1], found[2]
