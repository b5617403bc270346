"""Which files of a folder are readable images, and why the others are not."""

import dataclasses
import os
import pathlib
import stat
from collections.abc import Callable
from concurrent import futures

import numpy as np
from absl import logging

from vlm_games.data import decode


@dataclasses.dataclass(frozen=True)
class SkippedImage:
    """A file or folder that gives no image, and the reason in words."""

    path: str
    reason: str


@dataclasses.dataclass(frozen=True)
class ScanResult:
    """What a folder holds.

    Attributes:
      names: readable files, relative to the folder with "/" between parts, in
        code point order; an image's index is its place here.
      file_sizes: their sizes in bytes, in the same order.
      skipped: everything else that was found, ordered by path.
      images: uint8 [len(names), size, size, 3], read-only; None where they
        would take more memory than was allowed.
    """

    names: tuple[str, ...]
    file_sizes: tuple[int, ...]
    skipped: tuple[SkippedImage, ...]
    images: np.ndarray | None


def scan(
    path: str | os.PathLike,
    size: int,
    workers: int | None = None,
    memory_limit: int = 0,
) -> ScanResult:
    """Decodes every file under `path` once, to know which are images.

    Peak memory is `workers` decoded originals, plus the squares that are kept.

    Args:
      path: folder, searched with all its subfolders.
      size: side of the decoded squares, in pixels.
      workers: decoding threads; None takes one per core, at most 8.
      memory_limit: keep the decoded squares if they fit in so many bytes.

    Returns:
      the readable names, what was skipped and why, the squares if they fit.

    Raises:
      FileNotFoundError, NotADirectoryError: `path` is no folder.
      ValueError: `path` is no local path, or not one file in it is readable.
    """
    root = _checked_folder(path)
    names, skipped = _list_files(root)
    kept = None
    if len(names) * size * size * 3 <= memory_limit:
        kept = np.empty((len(names), size, size, 3), np.uint8)

    def read(i: int) -> tuple[int, str | None]:
        """Size in bytes of file i, and what is wrong with it if anything."""
        file = root / names[i]
        try:
            square = decode.decode_square(file, size)
            if kept is not None:
                kept[i] = square
            return file.stat().st_size, None
        except (decode.UnreadableImageError, OSError) as error:
            return 0, str(error)

    results = _map_in_threads(read, len(names), workers)
    readable = [i for i, (_, reason) in enumerate(results) if reason is None]
    skipped += [
        SkippedImage(str(root / name), reason)
        for name, (_, reason) in zip(names, results, strict=True)
        if reason is not None
    ]
    skipped.sort(key=lambda skip: skip.path)
    if not readable:
        raise ValueError(_nothing_readable(root, skipped))
    return ScanResult(
        names=tuple(names[i] for i in readable),
        file_sizes=tuple(results[i][0] for i in readable),
        skipped=tuple(skipped),
        images=None if kept is None else _compact(kept, readable),
    )


def _map_in_threads(
    function: Callable[[int], tuple[int, str | None]],
    count: int,
    workers: int | None,
) -> list[tuple[int, str | None]]:
    """[function(0), ..., function(count - 1)], with a word every 10 s."""
    workers = workers or min(8, os.cpu_count() or 1)
    results = []
    with futures.ThreadPoolExecutor(workers) as pool:
        for result in pool.map(function, range(count)):
            results.append(result)
            logging.log_every_n_seconds(
                logging.INFO, "read %d of %d images", 10, len(results), count
            )
    return results


def _compact(images: np.ndarray, readable: list[int]) -> np.ndarray:
    """Moves the readable rows to the front, in place, and cuts the rest off."""
    for row, i in enumerate(readable):
        if row != i:  # row < i: nothing still needed is overwritten
            images[row] = images[i]
    images = images[: len(readable)]
    images.setflags(write=False)
    return images


def _checked_folder(path: str | os.PathLike) -> pathlib.Path:
    if "://" in os.fspath(path):
        raise ValueError(
            f"Image folder {path}: images are read from local disk. Copy the "
            "folder here, or mount the bucket (gcsfuse), and give that path."
        )
    root = pathlib.Path(path)
    if not root.exists():
        raise FileNotFoundError(
            f"Image folder {path} does not exist (looked for "
            f"{root.absolute()})."
        )
    if not root.is_dir():
        raise NotADirectoryError(
            f"Image folder {path} is a file; give the folder that holds it."
        )
    return root


def _list_files(root: pathlib.Path) -> tuple[list[str], list[SkippedImage]]:
    """Sorted names of regular files to try, and what is not worth trying."""
    names: list[str] = []
    skipped: list[SkippedImage] = []

    def skip(path: str, reason: str) -> None:
        skipped.append(SkippedImage(path, reason))

    def unlisted(error: OSError) -> None:
        skip(str(error.filename), f"cannot be listed: {error.strerror}")

    for folder, subfolders, files in os.walk(root, onerror=unlisted):
        for entry in list(subfolders):
            reason = _folder_obstacle(os.path.join(folder, entry), root)
            if reason is not None:
                skip(os.path.join(folder, entry), reason)
                subfolders.remove(entry)
        for entry in files:
            path = os.path.join(folder, entry)
            reason = _file_obstacle(path, root)
            if reason is not None:
                skip(path, reason)
            else:
                names.append(pathlib.Path(path).relative_to(root).as_posix())
    return _once_each(root, sorted(names), skipped), skipped


def _folder_obstacle(path: str, root: pathlib.Path) -> str | None:
    if os.path.basename(path).startswith("."):
        return "hidden (its name begins with a dot)"
    if os.path.islink(path):
        return _link_obstacle(path, root) or (
            "a link to a folder; its files are read where they lie"
        )
    return None


def _file_obstacle(path: str, root: pathlib.Path) -> str | None:
    if os.path.basename(path).startswith("."):
        return "hidden (its name begins with a dot)"
    if os.path.islink(path):
        obstacle = _link_obstacle(path, root)
        if obstacle is not None:
            return obstacle
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    # Opening a named pipe would wait for ever.
    return None if stat.S_ISREG(mode) else "not a regular file"


def _link_obstacle(path: str, root: pathlib.Path) -> str | None:
    target = pathlib.Path(os.path.realpath(path))
    if not target.exists():
        return f"a broken link (to {target})"
    if not target.is_relative_to(root.resolve()):
        return f"a link that leaves the folder (to {target})"
    return None


def _once_each(
    root: pathlib.Path, names: list[str], skipped: list[SkippedImage]
) -> list[str]:
    """Drops links to a file that is read already: twins spoil a game."""
    first: dict[str, str] = {}
    # Plain files before links, so that a link never displaces its target.
    for name in sorted(names, key=lambda name: (root / name).is_symlink()):
        path = str(root / name)
        twin = first.setdefault(os.path.realpath(path), name)
        if twin != name:
            skipped.append(SkippedImage(path, f"a link to {twin}, read there"))
    return sorted(first.values())


def _nothing_readable(root: pathlib.Path, skipped: list[SkippedImage]) -> str:
    lines = [
        f"Image folder {root} holds no readable image. Looked in all its "
        f"subfolders for {', '.join(decode.FORMATS)}, by content and not by "
        f"extension; found {len(skipped)} other entries."
    ]
    lines += [f"  {skip.path}: {skip.reason}" for skip in skipped[:5]]
    if len(skipped) > 5:
        lines.append(f"  and {len(skipped) - 5} more")
    return "\n".join(lines)
