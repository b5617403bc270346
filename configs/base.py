"""The shipped base model: how it is built and trained.

    python -m vlm_games.pretraining.train --config=configs/base.py \
        --output=/tmp/base
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """Returns the config of the base's training."""
    c = ml_collections.ConfigDict()
    c.seed = 0
    # Model directory, or name of a shipped base, to go on from; empty for
    # random params.
    c.start = ""
    # Of the params as they are written; or bfloat16, or int8, in levels.
    c.dtype = "float32"
    c.images = 4  # images in a game
    c.frozen = ()  # parts that are not trained, as "vision"

    c.model = ml_collections.ConfigDict()
    c.model.image_size = 32  # pixels
    c.model.patch_size = 4  # pixels
    c.model.shuffle = 4  # 4 x 4 patches to one image token: 4 an image
    c.model.vision_width = 96
    c.model.vision_depth = 3
    c.model.vision_heads = 2
    c.model.width = 128  # of the decoder
    c.model.depth = 4
    c.model.heads = 4

    c.recipe = ml_collections.ConfigDict()  # see pretraining.examples.Recipe
    c.recipe.agree = 0.35
    c.recipe.questions = 5
    c.recipe.describe = 1.0
    c.recipe.describe_weight = 1.0
    c.recipe.turns = 4
    c.recipe.wise = 0.8
    c.recipe.decided = 0.15
    c.recipe.probes = 5

    c.tasks = ml_collections.ConfigDict()  # see pretraining.tasks.Tasks
    c.tasks.described = 1
    c.tasks.pairs = 2
    c.tasks.asked_for = 2
    c.tasks.choices = 0.2
    c.tasks.records = 3
    c.tasks.told = 6
    c.tasks.answered = 6
    c.tasks.none = 0.2
    c.tasks.yes_no = 0.25
    c.tasks.reason = 0.25
    c.tasks.scene = 0.25

    c.scenes = 40_000  # labelled source scenes
    c.see_steps = 500  # steps on single images alone
    c.play_steps = 1_600  # steps that add rows with several images
    c.text_steps = 0  # steps before both, on rows without images alone
    c.answer_rows = 48  # rows of a step with one image
    c.probe_rows = 16  # rows of a step with several images and probes
    c.game_rows = 10  # rows of a step that hold a whole game
    c.task_rows = 0  # rows of a step with one image and other tasks
    c.told_rows = 0  # rows of a step with a scene in words
    c.record_rows = 0  # rows of a step with records written from nothing
    # Manifest of labelled frames of a robot, of vlm_games.record_aloha; empty
    # for none. The rows of a step with them are those below.
    c.frames = ""
    c.frames_last = 0.4  # chance that a frame is the last of its episode
    c.frame_rows = 0  # with one image
    c.frame_probe_rows = 0  # with several images and probes
    c.frame_game_rows = 0  # with a whole game
    c.answer_length = 112  # tokens of a row with one image
    c.game_length = 176  # tokens of a row with several; longer are left out
    c.task_length = 128  # tokens of a row of other tasks
    c.text_length = 240  # tokens of a row without images
    c.augment = 0.35  # strength of the images' augmentation
    c.learning_rate = 2e-3
    c.warmup = 100
    c.weight_decay = 0.02
    return c
