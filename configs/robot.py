"""Games on unlabelled frames of a robot: did it succeed?

    python -m vlm_games.record_aloha --output=/tmp/aloha --episodes=100 \
        --frames=6 --size=64
    python -m vlm_games.main --config=configs/robot.py --workdir=/tmp/robot

A recording elsewhere: --config=configs/robot.py:/data/aloha
"""

import pathlib
import runpy

import ml_collections

# Asked of the cube's frames; two of these tell success from most failures.
QUESTIONS = (
    "does the left hand hold the cube ?",
    "does the right hand hold the cube ?",
    "is the cube on the table ?",
    "what holds the cube ?",
    "where is the cube ?",
)


def get_config(recording: str = "/tmp/aloha") -> ml_collections.ConfigDict:
    """Returns the scenes config with what is otherwise.

    Args:
      recording: folder that vlm_games.record_aloha wrote.
    """
    scenes = pathlib.Path(__file__).with_name("scenes.py")
    c = runpy.run_path(str(scenes))["get_config"]()
    folder = recording or "/tmp/aloha"
    c.base = "robot_base"
    c.images = f"{folder}/target-play.transfer_cube.jsonl"
    c.controls = ("unfiltered", "shuffled", "replay_only")
    # Left to itself the Guesser hardly asks who holds the cube.
    c.play.questions = QUESTIONS
    c.play.guess = "likelihood"
    c.game.sets = "task"
    c.game.games = 512  # in an iteration
    c.game.shard = 512
    c.train.steps = 40
    c.train.rows.guesser = 0  # it has said nothing
    c.train.rows.replay_game = 2
    # Frames of the base's domain beside scenes, against forgetting.
    c.train.replay_frames = f"{folder}/source-train.jsonl"
    c.train.replay_images = 400
    # As when its figures were taken; the default is otherwise since.
    c.game.sure = 0.0
    c.game.openly = False
    c.train.base_share = 0.0
    c.train.replay_answers = "own"
    c.train.replay_augmented = True
    c.eval.robot = f"{folder}/target-test.transfer_cube.jsonl"
    c.eval.robot_source = f"{folder}/source-test.jsonl"
    # Of the scenes only what shows whether they are forgotten.
    c.eval.target_images = 60
    c.eval.source_images = 60
    c.eval.games = 128
    c.eval.guard_games = 0
    return c
