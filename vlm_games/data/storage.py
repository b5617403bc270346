"""Where a run's files lie: in a folder, or in a bucket of Google Cloud Storage.

A local path is a `pathlib.Path`, one of gs://bucket/folder an `epath.Path`,
which has the same methods. Here is what has to be done in another way for each.
A bucket has no folders: one is there as long as something lies in it.
"""

import contextlib
import dataclasses
import functools
import importlib.util
import os
import pathlib
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from typing import Any

import fsspec
from etils import epath

from vlm_games.data.listing import is_remote

BUCKET = "gs://"
CONFIG = "config.json"  # of a run, in its folder
CLIENTS = ("aiohttp", "gcsfs", "google", "requests")  # of buckets
NO = ("false", "no", "f", "0")  # as etils reads EPATH_USE_TF


@dataclasses.dataclass(frozen=True)
class File:
    """What is known of a file without reading it.

    Attributes:
      size: bytes. changed: seconds of the epoch.
    """

    size: int
    changed: float


def path_of(place: str | os.PathLike) -> pathlib.Path:
    """The path to work with: a folder's, or that of gs://bucket/folder.

    Raises:
      ValueError: another kind of URL, or what reads buckets is missing.
    """
    if not is_remote(place):
        return pathlib.Path(place)
    if not os.fspath(place).startswith(BUCKET):
        raise ValueError(
            f"{place}: runs are kept in a folder or below gs://<bucket>/."
        )
    _use_gcsfs()
    return epath.Path(place)


@functools.cache
def _use_gcsfs() -> None:
    """Makes gs:// paths be read as they are now; before the first is read."""
    if importlib.util.find_spec("gcsfs") is None:
        raise ValueError(
            f"{BUCKET} paths need gcsfs: pip install 'vlm_games[gcs]'."
        )
    if (
        importlib.util.find_spec("tensorflow") is not None
        and os.environ.get("EPATH_USE_TF", "").lower() not in NO
    ):
        raise ValueError(
            f"TensorFlow is installed, and would read {BUCKET} paths, which it "
            "remembers for seconds: set EPATH_USE_TF=false."
        )
    # It would list a folder once and for all, and not see what others write.
    fsspec.config.conf.setdefault("gs", {})["use_listings_cache"] = False


def local(given: str, named: str) -> pathlib.Path:
    """The local file or folder that is named.

    Args:
      given: by what, such as "--output" or "config.image_cache".

    Raises:
      ValueError: it is a URL, which pathlib would make a folder called "gs:".
    """
    if is_remote(named):
        raise ValueError(
            f"{given}={named}: give a place on this machine; a run of "
            "vlm_games.main is all that can lie in a bucket."
        )
    return pathlib.Path(named)


def check_bucket(root: pathlib.Path) -> None:
    """Writes, reads and deletes an object, by both clients that are used.

    Better before a model is loaded than after its games. A local folder is
    passed over.

    Raises:
      OSError: the bucket refuses.
    """
    if not is_remote(root):
        return
    tried = f".tried-{uuid.uuid4().hex}"
    put(root / tried, b"")
    with _refusals(root, "used"):
        store = kv_store(root)
        store.read(tried).result()
        store.write(tried, None).result()


def kv_store(root: pathlib.Path) -> Any:
    """A folder of a bucket as a TensorStore KvStore, which can write a file on
    the condition that nobody else has."""
    import tensorstore  # only now: not all who read files need it

    bucket, _, folder = str(root).removeprefix(BUCKET).partition("/")
    path = f"{folder}/" if folder else ""
    spec = {"driver": "gcs", "bucket": bucket, "path": path}
    return tensorstore.KvStore.open(spec).result()


def put(path: pathlib.Path, content: bytes) -> None:
    """Writes an object of a bucket, which appears as a whole or not at all.

    Raises:
      OSError: the bucket refuses.
    """
    with _refusals(path, "written"):
        files, name = fsspec.url_to_fs(str(path))
        files.pipe_file(name, content)


@contextlib.contextmanager
def _refusals(path: pathlib.Path, what: str) -> Iterator[None]:
    """Within, whatever the clients of a bucket raise becomes an OSError."""
    try:
        yield
    except Exception as error:
        raise _refusal(path, what, error) from error


def _refusal(path: pathlib.Path, what: str, error: Exception) -> OSError:
    return OSError(
        f"{path} cannot be {what}: {error}. Does the bucket exist, and may "
        "this machine's account read, write, list and delete its objects "
        "(roles/storage.objectUser)? What was finished is kept; the same "
        "command goes on from there."
    )


@contextlib.contextmanager
def client_errors(root: pathlib.Path) -> Iterator[None]:
    """Within, what the client of a bucket raises for itself, as when it has
    asked in vain for long, becomes an OSError; other errors go through, and
    all of them of a run in a local folder."""
    try:
        yield
    except Exception as error:
        of_client = type(error).__module__.partition(".")[0] in CLIENTS
        if not is_remote(root) or not of_client or isinstance(error, OSError):
            raise
        raise _refusal(root, "used any more", error) from error


def files_in(folder: pathlib.Path) -> dict[str, File]:
    """All files of a folder and its subfolders, by their path in it."""
    found = {}
    if is_remote(folder):
        files, root = fsspec.url_to_fs(f"{folder}/")
        root = root.rstrip("/") + "/"
        for name, known in files.find(root, detail=True).items():
            # A slash at the end: how some programs mark an empty folder.
            if name.startswith(root) and not name.endswith("/"):
                changed = known["mtime"].timestamp()
                found[name.removeprefix(root)] = File(known["size"], changed)
        return found
    for path in sorted(folder.rglob("*")):
        with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
            if path.is_file():
                known = path.stat()
                name = path.relative_to(folder).as_posix()
                found[name] = File(known.st_size, known.st_mtime)
    return found


def delete(folder: pathlib.Path) -> None:
    """Deletes a folder with all that is in it, if it is there."""
    if is_remote(folder):
        files, name = fsspec.url_to_fs(str(folder))
        with contextlib.suppress(FileNotFoundError):
            files.rm(name, recursive=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)


def move(path: pathlib.Path, target: pathlib.Path) -> None:
    """Renames a file or folder to another name beside it, replacing what has
    that name."""
    if not is_remote(path):
        if target.is_dir():
            shutil.rmtree(target)
        path.replace(target)
        return
    delete(target)
    files, name = fsspec.url_to_fs(str(path))
    inner = [f"/{inner}" for inner in files_in(path)] or [""]
    to = name.removesuffix(path.name) + target.name
    files.copy([name + x for x in inner], [to + x for x in inner])
    files.rm([name + x for x in inner])


@contextlib.contextmanager
def filled(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """A local folder to write into: `folder`, or one whose files are put there
    at the end, for programs that cannot write to a bucket."""
    if not is_remote(folder):
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    with tempfile.TemporaryDirectory() as made:
        here = pathlib.Path(made)
        yield here
        for name in files_in(here):
            put(folder / name, (here / name).read_bytes())
