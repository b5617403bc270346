"""Reading benchmark files; what is wrong with one is told by file and record.

Owners write JSON, JSON lines or tab-separated tables; ids are numbers here and
text there. Extra fields are let through, as owners add some.
"""

import csv
import json
import pathlib
import sys
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

Kind = TypeVar("Kind")
SHOWN = 5  # ids that an error names


class BenchmarkError(ValueError):
    """A file that is not what it should be; names file and record."""


def read_json(path) -> Any:
    """A file of one JSON value.

    Raises:
      BenchmarkError: no JSON. OSError: no such file.
    """
    return _parse(_read(path), str(path))


def read_records(path) -> list[dict]:
    """A JSON list of objects, or JSON lines; which, the first character tells.

    Raises:
      BenchmarkError: anything else.
    """
    text = _read(path)
    if text.lstrip()[:1] == "[":
        found = _parse(text, str(path))
        places = [f"{path}, record {n}" for n in range(1, len(found) + 1)]
    else:
        # Not splitlines(), which also cuts at characters that text may hold.
        lines = enumerate(text.split("\n"), 1)
        kept = [
            (f"{path}, line {n}", line) for n, line in lines if line.strip()
        ]
        found = [_parse(line, place) for place, line in kept]
        places = [place for place, _ in kept]
    for place, record in zip(places, found, strict=True):
        check(record, dict, place)
    return found


def read_keyed(path) -> dict[str, dict]:
    """A JSON object that holds objects by their ids.

    Raises:
      BenchmarkError: anything else.
    """
    found = check(read_json(path), dict, str(path))
    for key, record in found.items():
        check(record, dict, f"{path}, {key!r}")
    return found


def read_listed(path, name: str, key: str) -> dict:
    """Objects of the list `name` in a JSON object, by their field `key`.

    Raises:
      BenchmarkError: anything else, or two have the same id.
    """
    whole = check(read_json(path), dict, str(path))
    listed = field(whole, name, list, str(path))
    for number, record in enumerate(listed, 1):
        check(record, dict, f"{path}, {name}, record {number}")
    return by_id(listed, key, path)


def read_table(path) -> list[dict]:
    """A tab-separated table with a header; an empty cell is no field.

    Raises:
      BenchmarkError: a row has more cells than the header.
    """
    csv.field_size_limit(sys.maxsize)  # images are cells, in base64
    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    for number, row in enumerate(rows, 1):
        if None in row:
            raise BenchmarkError(
                f"{path}, row {number}: more cells than the header names."
            )
    return [{k: v for k, v in row.items() if v} for row in rows]


def read_pairs(path) -> list[tuple[str, str]]:
    """A table of two values a line, with a comma between and no header.

    Raises:
      BenchmarkError: a line has another number of values.
    """
    pairs = []
    for number, line in enumerate(_read(path).splitlines(), 1):
        values = [value.strip() for value in line.split(",")]
        if not line.strip():
            continue
        if len(values) != 2:
            raise BenchmarkError(
                f"{path}, line {number}: {len(values)} values, expected an id "
                "and a prediction with a comma between."
            )
        pairs.append((values[0], values[1]))
    return pairs


def check(value: Any, kind: type[Kind] | tuple, place: str) -> Kind:
    """The value itself, if it is of this kind; true and false are of none.

    Raises:
      BenchmarkError: it is not.
    """
    if not isinstance(value, kind) or isinstance(value, bool):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        names = " or ".join(_NAMES[k] for k in kinds)
        found = repr(value)
        found = found if len(found) <= 60 else found[:57] + "..."
        raise BenchmarkError(
            f"{place}: expected {names}, found {found} "
            f"({type(value).__name__})."
        )
    return value


_NAMES = {
    str: "text",
    int: "a whole number",
    float: "a number",
    dict: "an object",
    list: "a list",
    type(None): "null",
}


def field(record: Mapping, name: str, kind, place: str) -> Any:
    """A field of a record.

    Raises:
      BenchmarkError: it is missing or of another kind.
    """
    if name not in record:
        raise BenchmarkError(
            f"{place}: the field {name!r} is missing; it has "
            f"{', '.join(map(repr, record)) or 'none'}."
        )
    return check(record[name], kind, f"{place}, field {name!r}")


def by_id(
    records: Iterable[Mapping],
    name: str | Callable[[Mapping], Hashable],
    path,
) -> dict:
    """Records by what a field of theirs, or a function of them, says.

    Raises:
      BenchmarkError: the field is missing, or two records share an id.
    """
    found: dict[Hashable, Mapping] = {}
    for number, record in enumerate(records, 1):
        place = f"{path}, record {number}"
        if callable(name):
            key = name(record)
        else:
            key = field(record, name, (int, str), place)
        if key in found:
            raise BenchmarkError(
                f"{place}: a second record of {key!r}; every question has one."
            )
        found[key] = record
    return found


def match(predicted: Iterable, wanted: Iterable, path, others) -> None:
    """Checks that a file predicts all questions of another, and no more.

    Args:
      predicted: ids of the file `path`; wanted: ids of the file `others`.

    Raises:
      BenchmarkError: naming some ids of those that are missing or unknown.
    """
    wanted, predicted = dict.fromkeys(wanted), dict.fromkeys(predicted)
    if not wanted:
        raise BenchmarkError(f"{others} holds no question to score.")
    for ids, fault in (
        ([key for key in wanted if key not in predicted], "does not answer"),
        ([key for key in predicted if key not in wanted], "answers unknown"),
    ):
        if ids:
            raise BenchmarkError(
                f"{path} {fault} {len(ids)} of the questions, the first "
                f"being {show(ids)}; {others} asks {len(wanted)}, such as "
                f"{show(list(wanted)[:1])}."
            )


def show(ids: Sequence) -> str:
    """Some ids, as they stand in the file: text is quoted, numbers are not."""
    more = ", ..." if len(ids) > SHOWN else ""
    return ", ".join(map(repr, ids[:SHOWN])) + more


def _read(path) -> str:
    try:
        return pathlib.Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BenchmarkError(f"{path}: no UTF-8 text: {error}.") from error


def _parse(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise BenchmarkError(f"{place}: no JSON: {error}.") from error
