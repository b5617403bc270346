"""Config fields that take one of several words, checked before the work."""

import difflib
import re

from vlm_games.games.filters import FILTERS
from vlm_games.games.image_sets import KINDS
from vlm_games.games.prompts import STYLES
from vlm_games.methods.method import MAIN
from vlm_games.methods.registry import METHODS, STANDARD
from vlm_games.methods.triangle import SIMILARITIES, TYPES
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
    "train.replay_answers": ("own", "labels"),
    "triangle.similarity": tuple(SIMILARITIES),
    "triangle.types": TYPES,
    "eval.split": ("test", "validation"),
}


def check(config) -> None:
    """Raises ValueError for a word that a field does not know.

    The message names the field, what was found, what is known and the nearest
    of it.
    """
    for field, known in CHOICES.items():
        found = config
        for part in field.split("."):
            found = found[part]
        _check_words(f"config.{field}", found, known)
    arms = METHODS[config.method].arms
    controls = [STANDARD, *(arm for arm in arms if arm != MAIN)]
    _check_words("config.controls", config.controls, controls)
    check_settings(config.triangle)
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
            f"{config.play.top_p}: top_k is 0 or more, top_p above 0 and at "
            "most 1."
        )
    for step in config.profile:
        if not re.fullmatch(r"[a-z_]+/[0-9]+/(play|train)/[0-9]+", step):
            raise ValueError(
                f"config.profile has {step!r}; a step is such as "
                "'main/1/play/0' or 'main/1/train/5'."
            )
    if config.game.filter in ("again", "reshuffled"):
        field = {"again": "repeats", "reshuffled": "reshuffles"}
        field = field[config.game.filter]
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


def _check_words(field: str, found, known) -> None:
    for word in (found,) if isinstance(found, str) else found:
        if word not in known:
            near = difflib.get_close_matches(str(word), known, 1, 0.0)
            raise ValueError(
                f"{field}={word!r} is unknown; did you mean {near[0]!r}? "
                f"Known: {', '.join(known)}."
            )
