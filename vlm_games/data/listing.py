"""Which files of a folder are worth trying as images, here or in a bucket."""

import dataclasses
import os
import pathlib
import re
import stat

from etils import epath

WILDCARDS = re.compile(r"[*?\[]")
# Of remote files, which are not opened to look what they are.
EXTENSIONS = (
    ".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm",
    ".pgm", ".jp2", ".avif",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class SkippedImage:
    """A file or folder that gives no image, and the reason in words."""

    path: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Listing:
    """Files to try.

    Attributes:
      root: the folder, without a slash at its end.
      names: relative to it with "/" between parts, in code point order.
      skipped: what else was found.
    """

    root: str
    names: tuple[str, ...]
    skipped: tuple[SkippedImage, ...]


def is_remote(path: str | os.PathLike) -> bool:
    """Whether a path is a URL such as gs://bucket/folder."""
    return "://" in os.fspath(path)


def list_files(path: str | os.PathLike) -> Listing:
    """Lists a folder with all its subfolders.

    Args:
      path: a folder, or a pattern such as "/data/**/left_*.jpg": `*` and `?`
        stand for anything within a name, `**` for any folders. Local, or a URL
        that `etils.epath` knows (gs://, s3://).

    Raises:
      FileNotFoundError, NotADirectoryError: there is no such folder.
    """
    root, wanted = _split(os.fspath(path))
    _check_folder(root)
    names, skipped = (_walk_remote if is_remote(root) else _walk_local)(root)
    if wanted is not None:
        names = [name for name in names if wanted.fullmatch(name)]
        skipped = []  # what is outside of the pattern was not asked for
    return Listing(root, tuple(sorted(names)), tuple(skipped))


def _split(text: str) -> tuple[str, re.Pattern[str] | None]:
    """(folder, pattern of names in it); no pattern if there is no wildcard."""
    wildcard = WILDCARDS.search(text)
    if wildcard is None:
        return text.rstrip("/") or "/", None
    root, slash, _ = text[: wildcard.start()].rpartition("/")
    names = text[len(root) + len(slash) :]
    return root or slash or ".", _pattern(names)


def _pattern(text: str) -> re.Pattern[str]:
    """Regular expression of the names that a pattern stands for."""
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    made = ""
    for piece in re.split(r"(\*\*/|\*\*|\*|\?|\[[^]]+\])", text):
        if piece.startswith("[") and piece.endswith("]"):
            made += "[" + piece[1:-1].replace("!", "^", 1) + "]"
        else:
            made += parts.get(piece, re.escape(piece))
    return re.compile(made)


def _check_folder(root: str) -> None:
    folder = epath.Path(root)
    if not folder.exists():
        whole = root if is_remote(root) else os.path.abspath(root)
        looked = f" (looked for {whole})" if whole != root else ""
        raise FileNotFoundError(
            f"Image folder {root} does not exist{looked}; mend config.images."
        )
    if not folder.is_dir():
        raise NotADirectoryError(
            f"Image folder {root} is a file; give the folder that holds it, "
            "or a manifest that ends in .jsonl or .csv."
        )


def _walk_remote(root: str) -> tuple[list[str], list[SkippedImage]]:
    names, skipped = [], []
    for folder, _, files in epath.Path(root).walk():
        # Some file systems leave the scheme out of what they list.
        inner = os.fspath(folder).split("://")[-1].lstrip("/")
        inner = inner[len(root.split("://")[-1]) :].strip("/")
        for file in files:
            name = f"{inner}/{file}" if inner else file
            if any(part.startswith(".") for part in name.split("/")):
                reason = "hidden (its name begins with a dot)"
            elif not name.lower().endswith(EXTENSIONS):
                reason = f"no image by its name ({', '.join(EXTENSIONS)})"
            else:
                names.append(name)
                continue
            skipped.append(SkippedImage(f"{root}/{name}", reason))
    return names, skipped


def _walk_local(path: str) -> tuple[list[str], list[SkippedImage]]:
    """Names of regular files to try, and what is not worth trying."""
    names: list[str] = []
    skipped: list[SkippedImage] = []
    root = pathlib.Path(path)

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
                names.append(os.path.relpath(path, root))
    return _once_each(root, names, skipped), skipped


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
    links = [name for name in names if (root / name).is_symlink()]
    kept = set(names) - set(links)
    first = {os.path.realpath(root / name): name for name in kept if links}
    for name in sorted(links):
        path = str(root / name)
        twin = first.setdefault(os.path.realpath(path), name)
        if twin == name:
            kept.add(name)
        else:
            skipped.append(SkippedImage(path, f"a link to {twin}, read there"))
    return list(kept)
