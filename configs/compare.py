"""Four methods, and combinations of them, from one base with one budget.

    python -m vlm_games.compare --config=configs/compare.py --workdir=/tmp/w

One entry is a run of its own:

    python -m vlm_games.main --config=configs/compare.py:stic --workdir=/tmp/w

Combinations are dialog games with a part of another method.

Every entry may say 60,000 tokens in a round for its candidates, and computes
about 330,000 tokens of training, padding included: rows x tokens x steps of
what it learns, replay included. `summary` counts those that are no padding.
"""

import pathlib
import runpy

import ml_collections

# entry -> the measure that it is made for, and what it should not gain by.
ENTRIES = {
    "dialog_games": ("vqa_yes_no", "shuffled"),
    "stic": ("description_truth", "swapped"),
    "triangle": ("vqa_other", "bottom"),
    "text": ("vqa_choice", "permuted"),
    "games_consistent": ("vqa_yes_no", "inconsistent"),
    "games_corrupted": ("game_success", "shuffled"),
}
# Combinations -> fields of config.game.
COMBINATIONS = {
    "games_consistent": {"consistent": 0.5},
    "games_corrupted": {"corrupted": 0.5},
}


def get_config(entry: str = "") -> ml_collections.ConfigDict:
    """Returns the config of one entry's run, or what is compared if ""."""
    if not entry:
        c = ml_collections.ConfigDict()
        c.seeds = 3
        c.jobs = 2  # runs side by side, each on its share of the cores
        c.entries = ml_collections.ConfigDict()
        for name, (measure, control) in ENTRIES.items():
            c.entries[name] = ml_collections.ConfigDict()
            c.entries[name].measure = measure
            c.entries[name].control = control
        return c
    if entry not in ENTRIES:
        raise ValueError(
            f"configs/compare.py has no entry {entry!r}; it has "
            f"{', '.join(ENTRIES)}."
        )
    scenes = pathlib.Path(__file__).with_name("scenes.py")
    c = runpy.run_path(str(scenes))["get_config"]()
    c.base = "scenes_tasks"
    c.method = "dialog_games" if entry in COMBINATIONS else entry
    # As when its figures were taken; the default is otherwise since.
    c.game.sure = 0.0
    c.game.openly = False
    c.train.base_share = 0.0
    c.train.replay_answers = "own"
    c.train.replay_augmented = True
    c.game.update(COMBINATIONS.get(entry, {}))
    c.iterations = 2
    # Of STIC's pairs: its second stage says some 14,000 more, counted as well.
    c.generated_tokens = 46_000 if entry == "stic" else 60_000
    c.controls = (ENTRIES[entry][1],)
    if entry == "dialog_games":  # that of the others would be all but the same
        c.controls += ("replay_only",)
    if entry == "stic":  # both descriptions of the clean image
        c.controls += ("uncorrupted",)
    c.eval.choices = True
    c.eval.described = True
    c.game.shard = 80
    c.stic.images, c.stic.shard = 3_000, 128
    c.triangle.images, c.triangle.shard = 3_000, 256
    c.text.records, c.text.shard = 3_000, 128
    # 60 x (24 x 72 + 6 x 216 + 16 x 120 + 3 x 200) = 333 thousand tokens.
    c.train.steps = 60
    # 45 x 24 x 96 + 42 x (24 x 120 + 2,520 of replay) = 330 thousand.
    c.stic.prefer.steps, c.stic.infuse.steps = 45, 42
    # A pair is one short answer: more rows of pairs, fewer of replay.
    # 40 x (32 x 32 + 1,560 of replay) + 59 x (72 x 32 + 1,560) = 331 thousand.
    c.triangle.tune.steps, c.triangle.learn.steps = 40, 59
    c.triangle.learn.rows.pair = 64
    if entry == "triangle":
        c.train.rows.replay_answer = 8
    # 144 x 24 x 96 = 332 thousand.
    c.text.learn.steps = 144
    c.text.learn.learning_rate = 5e-5  # 3e-4 lost 6 points of its own measure
    return c
