"""Runs notebooks as a reader would, and keeps what they show.

    python tests/run_notebook.py notebooks/watch_one_game.ipynb

Each runs in a folder of its own, beside a link to docs/; `photos` and
`checkpoint` in it stand for a reader's pictures and model.
"""

import os
import pathlib
import sys
import tempfile
from collections.abc import Mapping

import nbclient
import nbformat
import PIL.Image
from reference import common

from vlm_games.worlds.splits import load_split

ROOT = pathlib.Path(__file__).parents[1]
PHOTOS, SIDE = 24, 96  # how many, and pixels
METADATA = {
    "kernelspec": {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    },
    "language_info": {"name": "python"},
}


def make_folder(folder: pathlib.Path) -> None:
    """What a notebook finds around it."""
    (folder / "docs").symlink_to(ROOT / "docs")
    here = folder / "notebooks"
    (here / "photos").mkdir(parents=True)
    for i, pixels in enumerate(load_split("target/play", PHOTOS, SIDE)[1]):
        image = PIL.Image.fromarray(pixels)
        image.save(here / "photos" / f"scene_{i:02d}.png")
    checkpoint = here / "checkpoint"
    checkpoint.mkdir()
    for file in (common.FOLDER / "smolvlm").iterdir():
        if file.suffix in (".json", ".jinja"):
            (checkpoint / file.name).write_bytes(file.read_bytes())
    common.write_weights(checkpoint)


def execute(
    path: pathlib.Path, folder: pathlib.Path, settings: Mapping[str, str]
) -> nbformat.NotebookNode:
    """The notebook with its outputs; an error in a cell is raised.

    Args:
      folder: as `make_folder` leaves it. settings: of its environment.
    """
    notebook = nbformat.read(path, 4)
    client = nbclient.NotebookClient(
        notebook,
        timeout=1800,  # seconds, of a cell
        startup_timeout=600,
        kernel_name="python3",
        coalesce_streams=True,
        record_timing=False,
        resources={"metadata": {"path": str(folder / "notebooks")}},
    )
    # XLA has words for compiling slowly, as a busy machine does.
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3"}
    client.execute(env={**os.environ, **quiet, **settings})
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if output.output_type != "stream":
                output.metadata = {}
                output.data.pop("image/jpeg", None)  # also there as PNG
    return notebook


def main(paths: list[str]) -> None:
    for path in map(pathlib.Path, paths):
        with tempfile.TemporaryDirectory() as folder:
            make_folder(pathlib.Path(folder))
            given = {"CHECKPOINT": "checkpoint", "IMAGES": "photos"}
            found = execute(path, pathlib.Path(folder), given)
        nbformat.write(found, path)
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
