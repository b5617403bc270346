"""Image sources and image sets at a hundred thousand images.

    python benchmarks/images.py --folder=/tmp/many --json=/tmp/images.json

Makes --count JPEG files of 640 x 480 in --folder, unless they are there, and
measures, each in a process of its own:

  index      a folder's and a manifest's listing, headers and copies
  play       squares of random images by the workers, decoded anew, then from
             the disk cache: images/s, and own memory (RssAnon) while 1/10 of
             them are shown and all of them
  embed      the shipped base's tower over --embed images, from the cache
  similar    exact neighbours of --anchors images among --count, dimension 256

CPU seconds are told beside seconds of the clock: on a machine that others use,
they are what a free one would need of all its cores together.
"""

import io
import json
import os
import pathlib
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from absl import flags
from PIL import Image

from vlm_games import command_line
from vlm_games.data.disk_cache import CachedSource
from vlm_games.data.fetch import pieces
from vlm_games.data.file_source import open_folder
from vlm_games.data.manifest import open_manifest

_FOLDER = flags.DEFINE_string("folder", None, "Where the files are made.")
_COUNT = flags.DEFINE_integer("count", 100_000, "Files.", 100)
_SIZE = flags.DEFINE_integer("size", 224, "Side of the squares, pixels.", 8)
_SHOW = flags.DEFINE_integer("show", 5_000, "Images that are played with.", 10)
_EMBED = flags.DEFINE_integer("embed", 10_000, "Images to embed.", 256)
_ANCHORS = flags.DEFINE_integer("anchors", 4_096, "Images that look.", 1)
_ONLY = flags.DEFINE_list("only", ["index", "play", "embed", "similar"], "")
_JSON = flags.DEFINE_string("json", None, "File for the figures.")
_DRY_RUN = command_line.define_dry_run()
_PART = flags.DEFINE_string("part", None, "Of the child: what it measures.")

BYTES = 45_000  # of a file, about
WIDTH = 256  # of the vectors that are looked through
KINDS = 200  # different pictures; all files differ by a comment


def make_files(folder: pathlib.Path, count: int) -> None:
    """Writes count files, a thousand in each subfolder, and a manifest."""
    manifest = folder / "all.jsonl"
    if manifest.exists() and sum(1 for _ in open(manifest)) == count:
        return
    rng, pictures = np.random.default_rng(0), []
    for _ in range(KINDS):
        small = rng.integers(0, 256, (12, 16, 3), np.uint8)
        picture = Image.fromarray(small).resize((640, 480), Image.BICUBIC)
        noise = rng.normal(0, 6, (480, 640, 3))
        pixels = np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=80)
        pictures.append(buffer.getvalue())
    lines = []
    for i in range(count):
        name = f"{i // 1000:04d}/{i:06d}.jpg"
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = f"picture {i:012d}".encode()
        comment = b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text
        content = pictures[i % KINDS]
        path.write_bytes(content[:2] + comment + content[2:])
        lines.append(json.dumps({"path": name, "episode": i // 100}) + "\n")
    manifest.write_text("".join(lines))


def own_memory() -> float:
    """MiB that no file backs."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return round(int(line.split()[1]) / 1024, 1)
    raise OSError("/proc/self/status has no RssAnon; run this on Linux")


def timed(function: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """What a function returns; seconds of the clock and of the processors."""
    start, cpu = time.monotonic(), time.process_time()
    found = function()
    return found, {
        "seconds": round(time.monotonic() - start, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
    }


def index() -> dict[str, Any]:
    """Of a folder and of a manifest."""
    folder, size = _FOLDER.value, _SIZE.value
    before = own_memory()
    _, by_folder = timed(lambda: open_folder(f"{folder}/**/*.jpg", size))
    by_folder["own_mib"] = round(own_memory() - before, 1)
    source, by_manifest = timed(
        lambda: open_manifest(f"{folder}/all.jsonl", size)
    )
    return {
        "images": len(source),
        "folder": by_folder,
        "manifest": by_manifest,
    }


def play() -> dict[str, Any]:
    """Random images, as games fetch them."""
    source = open_manifest(f"{_FOLDER.value}/all.jsonl", _SIZE.value)
    cached = CachedSource(source, f"{_FOLDER.value}/.cache", _SIZE.value)
    order = np.random.default_rng(1).permutation(len(source))[: _SHOW.value]

    def show(images) -> dict[str, float]:
        memory, shown = [], 0

        def run():
            nonlocal shown
            for piece in pieces(images, order, 64):
                shown += len(piece)
                memory.append((shown, own_memory()))

        _, figures = timed(run)
        tenth = [m for n, m in memory if n <= len(order) // 10]
        return figures | {
            "images_per_cpu_second": round(
                len(order) / max(figures["cpu_seconds"], 0.1)
            ),
            "own_mib_of_a_tenth": max(tenth),
            "own_mib": max(m for _, m in memory),
        }

    found = {"shown": len(order), "size": _SIZE.value}
    found |= {"decoded": show(source)}
    found |= {"decoded_and_kept": show(cached), "from_cache": show(cached)}
    return found


def embed() -> dict[str, Any]:
    """By the shipped base, whose squares have 32 pixels."""
    from vlm_games.data.images import Subset
    from vlm_games.models.checkpoint import load_model
    from vlm_games.models.mesh import make_mesh, place
    from vlm_games.models.shipped import SHIPPED
    from vlm_games.sampling.engine import Engine
    from vlm_games.set_maker import embed_all, mean_tokens

    model, params = load_model(SHIPPED)
    mesh = make_mesh()
    engine = Engine(model, mesh, 256)
    side = model.vision.image_size
    source = open_manifest(f"{_FOLDER.value}/all.jsonl", side)
    some = Subset(source, tuple(range(_EMBED.value)))
    cached = CachedSource(some, f"{_FOLDER.value}/.cache", side)
    see = mean_tokens(engine, place(mesh, params))
    _, first = timed(lambda: embed_all(see, cached, 256, None))
    embeddings, again = timed(lambda: embed_all(see, cached, 256, None))
    return {
        "images": len(some),
        "dimension": embeddings.shape[1],
        "decoding": first,
        "from_cache": again,
    }


def similar() -> dict[str, Any]:
    """Clustered vectors: each has some twenty that are near."""
    from vlm_games.games import neighbours

    rng, count, width = np.random.default_rng(0), _COUNT.value, WIDTH
    centres = rng.standard_normal((count // 20, width), np.float32)
    embeddings = centres[rng.integers(len(centres), size=count)]
    embeddings += 0.7 * rng.standard_normal((count, width), np.float32)
    anchors = rng.permutation(count)[: _ANCHORS.value]
    unproven = []
    definition = neighbours._by_definition

    def counted(rows, *wanted):
        unproven.append(len(rows))
        return definition(rows, *wanted)

    neighbours._by_definition = counted
    few = anchors[: max(len(anchors) // 100, 256)]
    neighbours.nearest_images(few, embeddings, 9)  # compiles
    found, figures = timed(
        lambda: neighbours.nearest_images(anchors, embeddings, 9)
    )
    groups, stands = np.arange(count), np.ones(count, bool)
    limit = round(0.995 * neighbours._GRID)
    exact, by_definition = timed(
        lambda: definition(few, embeddings, groups, stands, limit, 9)
    )
    np.testing.assert_array_equal(found[: len(few)], exact)
    scale = count / len(anchors)
    return {
        "images": count,
        "anchors": len(anchors),
        "dimension": width,
        **figures,
        "unproven": unproven[-1],
        "cpu_seconds_for_all": round(figures["cpu_seconds"] * scale),
        "cpu_seconds_for_all_by_definition": round(
            by_definition["cpu_seconds"] * count / len(few)
        ),
        "checked_against_the_definition": len(few),
    }


PARTS = {"index": index, "play": play, "embed": embed, "similar": similar}


def tell() -> str:
    """What would be done."""
    count = _COUNT.value
    there = (pathlib.Path(_FOLDER.value) / "all.jsonl").exists()
    squares = _SHOW.value * _SIZE.value**2 * 3
    work = {
        "index": f"{count:,} files by folder and by manifest",
        "play": f"{_SHOW.value:,} squares of {_SIZE.value} pixels, three "
        f"times; {squares / 2**30:.2f} GiB of disk cache",
        "embed": f"{_EMBED.value:,} images by the shipped base, twice",
        "similar": f"neighbours of {_ANCHORS.value:,} of {count:,} vectors; "
        f"about {2 * count * WIDTH * 4 / 2**30:.2f} GiB of memory",
    }
    made = "is used if it has them" if there else "is written first"
    return "\n".join(
        [
            f"{_FOLDER.value} {made}: {count:,} JPEG files, about "
            f"{count * BYTES / 2**30:.2f} GiB.",
            *(f"{part}: {work[part]}" for part in _ONLY.value),
        ]
    )


def main() -> None:
    if _DRY_RUN.value:
        print(tell())
        return
    if _PART.value:
        found = PARTS[_PART.value]()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(found | {"peak_rss_mib": round(peak)}))
        return
    folder = pathlib.Path(_FOLDER.value)
    make_files(folder, _COUNT.value)
    size = (folder / "0000" / "000000.jpg").stat().st_size
    result = {
        "command": " ".join(["python", *sys.argv]),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "file_bytes": size,
    }
    for part in _ONLY.value:
        command = [sys.executable, __file__, f"--part={part}", *sys.argv[1:]]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
        result[part] = json.loads(done.stdout.decode().splitlines()[-1])
        print(part, result[part], flush=True)
        if _JSON.value:
            text = json.dumps(result, indent=2) + "\n"
            pathlib.Path(_JSON.value).write_text(text)


if __name__ == "__main__":
    command_line.run(main, ["folder"])
