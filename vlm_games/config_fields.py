"""A config's fields beside those of the default config: names, types, ranges.

What --config.x=... sets is checked by `command_line`; this is for config files,
which may set whatever they like.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
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


@dataclasses.dataclass(frozen=True)
class Range:
    """Numbers that make sense.

    Attributes:
      least, most: the ends, which are in it. above: whether `least` is not.
    """

    least: float = 0
    most: float = math.inf
    above: bool = False

    def __contains__(self, value: float) -> bool:
        high_enough = value > self.least if self.above else value >= self.least
        return high_enough and value <= self.most and math.isfinite(value)

    def __str__(self) -> str:
        if self.most < math.inf:
            return f"from {self.least} to {self.most}"
        return f"above {self.least}" if self.above else f"{self.least} or more"


def check_ranges(
    found: Fields,
    ranges: Mapping[Range, Sequence[str]],
    path: str = "config",
) -> None:
    """Raises ValueError for the first number that is out of its range.

    Args:
      found: fields, nested. ranges: names of fields that each is for, as
        "game.images", or "train.rows" for all that is in it; those that
        `found` lacks are passed over. path: of `found`, for messages.
    """
    for allowed, names in ranges.items():
        for name in names:
            value: Any = found
            for part in name.split("."):
                value = value.get(part) if isinstance(value, Mapping) else None
            several = value if isinstance(value, Mapping) else {"": value}
            for part, number in several.items():
                if number is not None and number not in allowed:
                    where = f"{path}.{name}.{part}".rstrip(".")
                    raise ValueError(
                        f"{where}={number}: expected a number {allowed}."
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
