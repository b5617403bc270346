"""Config fields and what they may hold, checked before the work."""

import dataclasses
import difflib
import re
from collections.abc import Mapping

from ml_collections import ConfigDict

from vlm_games import command_line, config_fields
from vlm_games.config_fields import Range, overlay
from vlm_games.data import storage
from vlm_games.games.filters import FILTERS
from vlm_games.games.image_sets import KINDS
from vlm_games.games.instructions import Instructions
from vlm_games.games.openly import check_forms
from vlm_games.games.prompts import STYLES, Prompts
from vlm_games.methods.choose import INCONSISTENT
from vlm_games.methods.method import MAIN
from vlm_games.methods.registry import METHODS, STANDARD
from vlm_games.methods.retell import SIMILARITIES
from vlm_games.methods.triangle import TYPES
from vlm_games.methods.triangle_choose import check_settings

CHOICES = {
    "method": tuple(METHODS),
    "dtype": ("float32", "bfloat16"),
    "image_paths": ("inside", "any"),
    "play.style": tuple(STYLES),
    "play.guess": ("spoken", "likelihood"),
    "game.filter": tuple(FILTERS),
    "game.sets": KINDS,
    "game.search": ("exact", "faiss"),
    "train.start": ("last", "base"),
    "train.replay_answers": ("own", "openly", "labels"),
    "triangle.similarity": tuple(SIMILARITIES),
    "triangle.types": TYPES,
    "eval.split": ("test", "validation"),
}
# Numbers that make no sense are refused; a name without a number stands for all
# that is in it. What a method asks besides stands with the method.
RANGES = {
    Range(2): ("game.images",),
    Range(1): (
        "encode_images",
        "score_rows",
        "play.turns",
        "play.guesser_tokens",
        "play.answer_tokens",
        "play.slots",
        "game.games",
        "game.shard",
        "stic.images",
        "stic.shard",
        "stic.rows",
        "stic.tokens",
        "triangle.images",
        "triangle.shard",
        "triangle.rows",
        "text.records",
        "text.shard",
        "text.rows",
        "text.tokens",
        "eval.target_images",
        "eval.source_images",
        "eval.games",
        "eval.rows",
    ),
    Range(0): (
        "seed",
        "iterations",
        "image_size",
        "image_workers",
        "generated_tokens",
        "play.guesser_temperature",
        "play.describer_temperature",
        "game.pool",
        "game.judges",
        "game.judge_view",
        "game.describer_view",
        "game.repeats",
        "game.reshuffles",
        "stic.temperature",
        "stic.invent_temperature",
        "stic.infused",
        "triangle.temperature",
        "triangle.seeds",
        "text.temperature",
        "eval.guard_games",
    ),
    Range(0, 1): (
        "game.asks_all",
        "game.sure",
        "game.consistent",
        "game.corrupted",
        "stic.invented",
    ),
}
# The same of config.train, and of what stages have instead of it.
TRAIN_RANGES = {
    Range(0, 1): ("base_share",),
    Range(0, above=True): ("learning_rate",),
    Range(1): ("steps", "save_every", "lengths"),
    Range(0): (
        "warmup",
        "weight_decay",
        "augment",
        "replay_images",
        "rows",
        "lora.rank",
    ),
}


# Stages of methods: they may have any field of config.train otherwise.
STAGES = (
    ("stic", "prefer"),
    ("stic", "infuse"),
    ("triangle", "tune"),
    ("triangle", "learn"),
    ("text", "learn"),
)
# Fields of a dataclass that may be replaced, and need not be.
REPLACED = {"prompts": Prompts, "instructions": Instructions}


def check_fields(config: ConfigDict) -> None:
    """Raises ValueError for a field that configs/scenes.py does not have, that
    is missing, or of another type."""
    like = command_line.load_config("scenes").to_dict()
    found = config.to_dict()
    for name, kind in REPLACED.items():
        like[name] = dataclasses.asdict(kind())
        found[name] = overlay(like[name], found.get(name, {}))
    for method, stage in STAGES:
        like[method][stage] = overlay(like["train"], like[method][stage])
        own = found.get(method, {}).get(stage, {})
        if isinstance(own, Mapping):
            found[method][stage] = overlay(like[method][stage], own)
    config_fields.check(found, like)


def check_numbers(config: ConfigDict) -> None:
    """Raises ValueError for a number that makes no sense; names its field."""
    fields = config.to_dict()
    config_fields.check_ranges(fields, RANGES)
    config_fields.check_ranges(fields["train"], TRAIN_RANGES, "config.train")
    for method, stage in STAGES:
        config_fields.check_ranges(
            fields[method][stage], TRAIN_RANGES, f"config.{method}.{stage}"
        )


def check(config: ConfigDict) -> None:
    """Raises ValueError for a field, or a word in a field, that is unknown, or
    a number that makes no sense.

    The message names the field, what was found, what is known and the nearest
    of it.
    """
    check_fields(config)
    check_numbers(config)
    for field, known in CHOICES.items():
        found = config
        for part in field.split("."):
            found = found[part]
        _check_words(f"config.{field}", found, known)
    arms = METHODS[config.method].arms
    controls = [STANDARD, *(arm for arm in arms if arm != MAIN)]
    _check_words("config.controls", config.controls, controls)
    check_settings(config.triangle)
    check_forms(config.prompts.get("openly", ()))
    storage.local("config.image_cache", config.image_cache)
    storage.local("config.game.set_file", config.game.set_file)
    _check_combinations(config)
    if config.game.filter == "views" and not config.game.judges:
        raise ValueError(
            "config.game.filter='views' asks independent views: set "
            "config.game.judges to 1 or more."
        )
    if config.play.questions and config.play.guess != "likelihood":
        raise ValueError(
            "config.play.questions are asked by nobody: set config.play.guess "
            "to 'likelihood'."
        )
    if config.play.top_k < 0 or not 0 < config.play.top_p <= 1:
        raise ValueError(
            f"config.play.top_k={config.play.top_k} and top_p="
            f"{config.play.top_p}: set top_k to 0 or more, top_p above 0 "
            "and at most 1."
        )
    for step in config.profile:
        if not re.fullmatch(r"[a-z_]+/[0-9]+/(play|train)/[0-9]+", step):
            raise ValueError(
                f"config.profile has {step!r}; write a step as "
                "'main/1/play/0' or 'main/1/train/5'."
            )
    _check_asked_again(config)


def _check_asked_again(config: ConfigDict) -> None:
    """For filters that need the Guesser asked again, aloud."""
    if config.game.filter in ("again", "reshuffled"):
        fields = {"again": "repeats", "reshuffled": "reshuffles"}
        field = fields[config.game.filter]
        if not config.game[field]:
            raise ValueError(
                f"config.game.filter={config.game.filter!r} asks the Guesser "
                f"again: set config.game.{field} to 1 or more."
            )
        if config.play.guess != "spoken":
            raise ValueError(
                f"config.game.filter={config.game.filter!r} needs a Guesser "
                "that speaks its guess: set config.play.guess to 'spoken'."
            )


def _check_combinations(config) -> None:
    """Of games with parts of other methods, and of what is drawn back."""
    if config.train.lora.rank and config.train.base_share:
        raise ValueError(
            f"config.train.base_share={config.train.base_share} draws params "
            "back to the base, which the adapters of config.train.lora, that "
            "are kept, would know nothing of: set one of them to 0."
        )
    if INCONSISTENT in config.controls and not config.game.consistent:
        raise ValueError(
            f"config.controls has {INCONSISTENT!r}, which takes the answers "
            "that were told again worst: set config.game.consistent above 0."
        )


def _check_words(field: str, found, known) -> None:
    for word in (found,) if isinstance(found, str) else found:
        if word not in known:
            near = difflib.get_close_matches(str(word), known, 1, 0.0)
            raise ValueError(
                f"{field}={word!r} is unknown; did you mean {near[0]!r}? "
                f"Known: {', '.join(known)}."
            )
