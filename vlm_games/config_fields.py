"""A config's fields beside those of the default config: names and types.

What --config.x=... sets is checked by `command_line`; this is for config files,
which may set whatever they like.
"""

from collections.abc import Mapping
from typing import Any

from vlm_games.command_line import unknown_field

Fields = Mapping[str, Any]


def check(found: Fields, like: Fields, path: str = "config") -> None:
    """Compares a config with one that is known to be right.

    Args:
      found: fields, nested. like: the same, whose values tell types; an empty
        tuple or list may hold anything. path: of `found`, for messages.

    Raises:
      ValueError: a field is unknown, missing or ill-typed; the message names
        it, and for an unknown one the nearest.
    """
    for name in found:
        if name not in like:
            raise ValueError(unknown_field(path, name, list(like)))
    for name, known in like.items():
        if name not in found:
            raise ValueError(
                f"{path} lacks the field {name!r} (by default {known!r}): "
                "begin a config of your own with what get_config of "
                "configs/scenes.py returns, and change that."
            )
        value = found[name]
        if isinstance(known, Mapping) and isinstance(value, Mapping):
            check(value, known, f"{path}.{name}")
        elif not _is_like(value, known):
            raise ValueError(
                f"{path}.{name}={value!r} is a {type(value).__name__}; "
                f"expected {type(known).__name__}, such as {known!r}."
            )


def _is_like(value: Any, known: Any) -> bool:
    """Whether a value has the type of another; a whole number is a float."""
    if isinstance(known, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(known, bool)
    if isinstance(known, float):
        return isinstance(value, int | float)
    if isinstance(known, list | tuple):
        return isinstance(value, list | tuple)
    return isinstance(value, type(known))


def overlay(base: Fields, over: Fields) -> dict[str, Any]:
    """`base` with the fields of `over`, nested ones one by one."""
    merged = dict(base)
    for name, value in over.items():
        there = merged.get(name)
        if isinstance(there, Mapping) and isinstance(value, Mapping):
            value = overlay(there, value)
        merged[name] = value
    return merged
