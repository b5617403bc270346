"""What every benchmark gives: its questions, its records, its scores."""

import abc
import dataclasses
import json
from collections.abc import (
    Callable,
    Collection,
    Hashable,
    Iterable,
    Mapping,
    Sequence,
)
from typing import Any, ClassVar, TypeVar

from vlm_games.evaluation.benchmarks.files import (
    BenchmarkError,
    by_id,
    field,
    read_records,
)

Key = TypeVar("Key", bound=Hashable)


@dataclasses.dataclass(frozen=True)
class Question:
    """What a model is asked.

    Attributes:
      key: the owners' id of it.
      text: the question in words, context before it, options not in it.
      images: names of files under the images folder, or their bytes.
      style: how it wants to be answered, one of `STYLES`.
      options: what may be chosen, in the order of the letters.
    """

    key: Hashable
    text: str
    images: tuple[str | bytes, ...] = ()
    style: str = "short"
    options: tuple[str, ...] = ()


# short: a word or two; yes_no; choice: a letter; open: as long as needed.
STYLES = ("short", "yes_no", "choice", "open")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclasses.dataclass(frozen=True)
class Files:
    """Paths of a benchmark's files; None where not given.

    Attributes:
      predictions: what was answered. annotations: what is right.
      questions: what is asked, where that is a file of its own.
      seed: of the order of options, where it is drawn.
    """

    predictions: str | None = None
    annotations: str | None = None
    questions: str | None = None
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Scores:
    """How good predictions are.

    Attributes:
      values: score of each item, whose mean is `overall` before rounding; an
        item that nobody can score is not among them.
      overall: percent, rounded as the owners do.
      details: what else the owners report, by name.
    """

    values: Mapping[Any, float]
    overall: float
    details: Mapping[str, Any]


class Benchmark(abc.ABC):
    """A benchmark; see `registry.BENCHMARKS`.

    Attributes:
      needs: of `Files`, what scoring reads beside the predictions, with what
        the owners call it.
      asks: the same for asking.
      key, said: fields of a prediction that name its question and the answer.
      tokens: most of an answer. judged: whether scoring reads a judge's grades
        in place of predictions.
    """

    needs: ClassVar[Mapping[str, str]]
    asks: ClassVar[Mapping[str, str]]
    key: ClassVar[str] = "question_id"
    said: ClassVar[str] = "answer"
    tokens: ClassVar[int] = 16
    judged: ClassVar[bool] = False

    @abc.abstractmethod
    def questions(self, files: Files) -> list[Question]:
        """All questions, in the owners' order."""

    @abc.abstractmethod
    def score(self, files: Files) -> Scores:
        """Scores a file of predictions.

        Raises:
          BenchmarkError: a file is not what it should be, or predictions and
            questions are not of the same ids.
        """

    def record(self, question: Question, answer: str) -> dict:
        """A prediction in the owners' words: one line of the runner's file."""
        return {self.key: question.key, self.said: answer}

    def key_of(self, record: Mapping) -> Hashable:
        """Which question a record answers."""
        return record[self.key]

    def submission(self, records: Sequence[Mapping], files: Files) -> str:
        """The file that the owners' scorer, server or judge takes."""
        return json.dumps(list(records), indent=1) + "\n"

    def predictions(self, files: Files) -> dict[Hashable, str]:
        """What was answered, by question.

        Reads the owners' JSON list and the runner's lines alike.
        """
        path = files.predictions
        found = by_id(read_records(path), self.key, path)
        return {
            key: field(record, self.said, str, f"{path}, {self.key} {key!r}")
            for key, record in found.items()
        }


def as_lines(records: Iterable[Mapping]) -> str:
    """JSON lines, for owners who want such."""
    return "".join(json.dumps(record) + "\n" for record in records)


def percent(values: Iterable[float], digits: int = 2) -> float | None:
    """100 times the mean, rounded; None of nothing."""
    values = list(values)
    return overall(values, digits) if values else None


def overall(values: Collection[float], digits: int = 2) -> float:
    """The same of one value at least."""
    return round(100 * sum(values) / len(values), digits)


def per_group(
    values: Mapping[Key, float],
    group: Callable[[Key], Hashable | None],
) -> dict:
    """`percent` of the values of each group; keys of group None are left out.

    Groups stand in the order of their first item.
    """
    groups: dict[Hashable, list[float]] = {}
    for key, value in values.items():
        if group(key) is not None:
            groups.setdefault(group(key), []).append(value)
    return {name: percent(found) for name, found in groups.items()}


def require(files: Files, needed: Mapping[str, str], name: str) -> None:
    """Checks that files are given.

    Raises:
      BenchmarkError: naming the flag and what it is to hold.
    """
    for flag, what in needed.items():
        if not getattr(files, flag):
            raise BenchmarkError(f"{name} needs --{flag}: {what}.")
