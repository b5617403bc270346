"""What a run learned from, in the format of another trainer.

    python -m vlm_games.export_games --workdir=/tmp/run --format=parquet \\
        --output=/tmp/games

Formats: parquet (TRL's SFT), dpo (preference pairs), llava (JSON and images),
array_record (TensorFlow Datasets); see docs/exports.md. The model itself is
exported by vlm_games.export.
"""

import sys

from absl import app, flags, logging

from vlm_games.data.workdir import Workdir
from vlm_games.export import find_iteration
from vlm_games.exporting.formats import FORMATS, write
from vlm_games.exporting.gather import gather
from vlm_games.workbench import build, config_of

_FORMAT = flags.DEFINE_enum("format", "parquet", [*FORMATS], "What to write.")


def main(argv) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unknown arguments: {' '.join(argv[1:])}")
    logging.set_verbosity(logging.WARNING)
    given = flags.FLAGS
    workdir = Workdir(given.workdir)
    try:
        config = config_of(workdir)
        folder = find_iteration(workdir.root, given.arm, given.iteration)
        iteration = int(folder.name.removeprefix("iter_"))
        name = _FORMAT.value
        found = gather(
            build(config), workdir, given.arm, iteration, FORMATS[name].pairs
        )
        write(found, name, given.output)
    except (OSError, ValueError) as error:
        sys.exit(f"vlm_games: {error}")
    counts = ", ".join(
        f"{count} {stream}"
        for stream, count in found.provenance["rows"].items()
    )
    print(f"{folder}: {counts} as {given.output}")


if __name__ == "__main__":
    flags.mark_flags_as_required(["workdir", "output"])
    app.run(main)
