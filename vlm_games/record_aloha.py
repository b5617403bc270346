"""Records episodes of a simulated robot, ALOHA's two arms, and their labels.

    pip install -e '.[aloha]'; apt-get install libosmesa6
    python -m vlm_games.record_aloha --output=/tmp/aloha

What is there with the same settings is not made again; a recording that was
stopped goes on with the same command. See docs/robot.md.
"""

import os
import pathlib
import sys

from absl import flags
from tqdm import tqdm

from vlm_games import command_line
from vlm_games.robot.episodes import Settings, list_episodes
from vlm_games.robot.recording import record, summary, tell

_OUTPUT = command_line.required(
    flags.DEFINE_string("output", None, "Folder to record to.")
)
_EPISODES = flags.DEFINE_integer(
    "episodes",
    Settings.episodes,
    "Labelled episodes of each task, an even number; source-test has as many, "
    "target-play and target-test twice as many.",
    2,
)
_FRAMES = flags.DEFINE_integer(
    "frames", Settings.frames, "Kept of an episode, the last one included.", 1
)
_SIZE = flags.DEFINE_integer("size", Settings.size, "Of frames, in pixels.", 16)
_SEED = flags.DEFINE_integer("seed", Settings.seed, "Of everything.", 0)
_JOBS = flags.DEFINE_integer("jobs", 1, "Processes.", 1)
_DRY_RUN = command_line.define_dry_run()


def main() -> None:
    settings = Settings(
        _SEED.value, _EPISODES.value, _FRAMES.value, _SIZE.value
    )
    count = len(list_episodes(settings))
    if _DRY_RUN.value:
        frames = count * settings.frames
        print(f"{count} episodes, {frames} frames, to {_OUTPUT.value}")
        return
    # MuJoCo reads it when it is imported; other ways need a screen or a GPU.
    os.environ.setdefault("MUJOCO_GL", "osmesa")
    folder = pathlib.Path(_OUTPUT.value).expanduser()
    with tqdm(total=count, desc="episodes", file=sys.stderr) as bar:
        record(
            folder,
            settings,
            _JOBS.value,
            lambda done, of: bar.update(done - bar.n),
        )
    print(tell(summary(folder, settings)))


if __name__ == "__main__":
    command_line.run(main, ["output"])
