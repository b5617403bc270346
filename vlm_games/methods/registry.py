"""The methods by the names that `config.method` takes."""

from typing import Any

from vlm_games.methods.dialog_games import DialogGames
from vlm_games.methods.method import MAIN, Method
from vlm_games.methods.stic import Stic
from vlm_games.methods.text import TextOnly
from vlm_games.methods.triangle import Triangle

METHODS: dict[str, type[Method[Any]]] = {
    "dialog_games": DialogGames,
    "stic": Stic,
    "triangle": Triangle,
    "text": TextOnly,
}

STANDARD = "standard"  # in `config.controls`: the method's own first control


def arms_of(config) -> tuple[str, ...]:
    """The arms of a run: main, then the controls that the config names."""
    standard = METHODS[config.method].standard
    controls = (standard if c == STANDARD else c for c in config.controls)
    return MAIN, *dict.fromkeys(controls)


def idle_arms(config) -> tuple[str, ...]:
    """Those of its arms that make no candidates: whatever the images, they
    come to the same."""
    idle = METHODS[config.method].idle
    return tuple(arm for arm in arms_of(config) if arm in idle)


def unit_of(config) -> str:
    """What progress calls a candidate of its method, though there may be no
    such method: who builds the run says so."""
    return getattr(METHODS.get(config.method), "unit", "candidate")
