"""What a run learned from, in the format of another trainer.

    python -m vlm_games.export_games --workdir=/tmp/run --format=parquet \\
        --output=/tmp/games

Formats: parquet (TRL's SFT), dpo (preference pairs), llava (JSON and images),
array_record (TensorFlow Datasets); see docs/exports.md. The model itself is
exported by vlm_games.export.
"""

from absl import flags

from vlm_games import command_line
from vlm_games.data import storage
from vlm_games.data.workdir import Workdir, WorkdirError
from vlm_games.exporting.formats import FORMATS, write
from vlm_games.exporting.gather import gather
from vlm_games.workbench import build, config_of, find_iteration

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.")
_OUTPUT = flags.DEFINE_string("output", None, "Folder to write; a new one.")
_ARM = flags.DEFINE_string("arm", "main", "Arm of the run.")
_ITERATION = flags.DEFINE_integer("iteration", None, "The last if not given.")
_FORMAT = flags.DEFINE_enum("format", "parquet", [*FORMATS], "What to write.")
_DRY_RUN = command_line.define_dry_run()


def main() -> None:
    workdir, arm = Workdir(str(_WORKDIR.value)), _ARM.value
    name = _FORMAT.value
    output = str(storage.local("--output", str(_OUTPUT.value)))
    config = config_of(workdir)
    folder = find_iteration(workdir.root, arm, _ITERATION.value)
    iteration = int(folder.name.removeprefix("iter_"))
    pairs = FORMATS[name].pairs
    found = gather(build(config), workdir, arm, iteration, pairs)
    counts = ", ".join(
        f"{count} {stream}"
        for stream, count in found.provenance["rows"].items()
    )
    pictures = found.provenance["pictures"]
    if not _DRY_RUN.value:
        write(found, name, output)
    verb = "would write" if _DRY_RUN.value else "wrote"
    print(f"{verb} {output}: {counts} on {pictures} images, of {folder}")


if __name__ == "__main__":
    command_line.run(main, ["workdir", "output"], (WorkdirError,))
