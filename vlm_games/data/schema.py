"""Strict reading of JSON objects into dataclasses, field by field."""

import dataclasses
import json
import math
import sys
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

# Takes (value, place); returns the value as the dataclass holds it.
Check = Callable[[Any, str], Any]


class RecordError(ValueError):
    """A record that breaks its schema; names file, line and field."""


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """A frozen dataclass that goes to disk as one line of JSON.

    A subclass gives a check for every field in `CHECKS`, or its own `check`.
    """

    CHECKS: ClassVar[Mapping[str, Check]]

    @classmethod
    def check(cls, found: Any, place: str) -> dict[str, Any]:
        """Fields of a sound record, ready for the dataclass.

        Raises:
          RecordError: naming `place` and the field.
        """
        return read_fields(found, cls.CHECKS, place)

    def to_json(self) -> str:
        """One line without its end; checked as strictly as when read.

        Raises:
          RecordError: a value is wrong, or NumPy's instead of Python's (call
            `.item()` or `.tolist()` on it).
        """
        fields = dataclasses.asdict(self)
        self.check(fields, f"{self.place()}, to be written")
        # Escaping also keeps file names that are not UTF-8 intact.
        return json.dumps(fields, ensure_ascii=True, allow_nan=False)

    def place(self) -> str:
        """What the record is called in messages."""
        return type(self).__name__

    @classmethod
    def from_json(cls, line: str, place: str = "record") -> Self:
        """Reads one line; `place` (file and line) opens every message.

        Raises:
          RecordError: naming `place` and the field.
        """
        return cls(**cls.check(parse(line, place), place))


def parse(line: str, place: str) -> Any:
    """JSON text -> Python, refusing what JSON itself does not know.

    Raises:
      RecordError: no JSON, a field given twice, or NaN and Infinity, which
        Python would let pass and no other reader would.
    """

    def refuse_constant(name: str) -> None:
        raise RecordError(f"{place}: {name} is not a number that JSON has")

    def refuse_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            names = [name for name, _ in pairs]
            twin = next(name for name in names if names.count(name) > 1)
            raise RecordError(f"{place}, field {twin}: given twice")
        return found

    try:
        return json.loads(
            line,
            parse_constant=refuse_constant,
            object_pairs_hook=refuse_twins,
        )
    except RecordError:
        raise
    # Also a number of thousands of digits, and lists in lists without end.
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{place}: not a line of JSON: {error}") from error


def read_fields(
    found: Any, checks: Mapping[str, Check], place: str, prefix: str = ""
) -> dict[str, Any]:
    """Checks that `found` has exactly the fields of `checks`, each sound.

    Args:
      found: what stands where an object is expected.
      checks: field name -> check.
      place: file and line, for messages.
      prefix: path of the object inside its record, such as "turns[2].".

    Returns:
      field name -> value, ready for the dataclass.

    Raises:
      RecordError: for the first field that is missing, unknown or wrong.
    """
    if not isinstance(found, Mapping):
        where = f"{place}, field {prefix[:-1]}" if prefix else place
        raise RecordError(f"{where}: expected an object, found {show(found)}")
    for name in checks:
        if name not in found:
            raise RecordError(f"{place}, field {prefix}{name}: missing")
    for name in found:
        if name not in checks:
            raise RecordError(
                f"{place}, field {prefix}{name}: unknown; the fields are "
                f"{', '.join(checks)}"
            )
    return {
        name: check(found[name], f"{place}, field {prefix}{name}")
        for name, check in checks.items()
    }


def show(value: Any) -> str:
    """A value for a message, with its type, cut to a readable length."""
    text = repr(value)
    text = text if len(text) <= 60 else text[:57] + "..."
    return f"{text} ({type(value).__name__})"


def is_text(value: Any, place: str) -> str:
    text = str(_expect(isinstance(value, str), value, place, "text"))
    return sys.intern(text)  # what many records say lies in memory once


def is_bool(value: Any, place: str) -> bool:
    return _expect(isinstance(value, bool), value, place, "true or false")


def is_count(value: Any, place: str) -> int:
    """A whole number from 0; true and 2.0 are none."""
    sound = type(value) is int and value >= 0
    return _expect(sound, value, place, "a whole number from 0")


def is_number(value: Any, place: str) -> float:
    """A finite number; JSON has no others."""
    sound = isinstance(value, (int, float)) and not isinstance(value, bool)
    try:
        sound = sound and math.isfinite(value)
    except OverflowError:  # a whole number beyond what a float can hold
        sound = False
    _expect(sound, value, place, "a finite number")
    return float(value)


def one_of(*allowed: str) -> Check:
    def check(value: Any, place: str) -> str:
        sound = isinstance(value, str) and value in allowed
        return _expect(sound, value, place, " or ".join(map(repr, allowed)))

    return check


def optional(check: Check) -> Check:
    """The same check, with null let through as None."""

    def optional_check(value: Any, place: str) -> Any:
        return None if value is None else check(value, place)

    return optional_check


def list_of(check: Check) -> Check:
    """A JSON list (or a dataclass's tuple) -> tuple, each item checked."""

    def list_check(value: Any, place: str) -> tuple:
        _expect(isinstance(value, (list, tuple)), value, place, "a list")
        return tuple(check(v, f"{place}[{i}]") for i, v in enumerate(value))

    return list_check


def table_of(check: Check) -> Check:
    """A JSON object with any names, each value checked -> dict."""

    def table_check(value: Any, place: str) -> dict:
        _expect(isinstance(value, Mapping), value, place, "an object")
        return {
            is_text(name, place): check(v, f"{place}.{name}")
            for name, v in value.items()
        }

    return table_check


def _expect(sound: bool, value: Any, place: str, expected: str) -> Any:
    if not sound:
        raise RecordError(f"{place}: expected {expected}, found {show(value)}")
    return value
