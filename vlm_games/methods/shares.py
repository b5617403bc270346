"""Scores put to use: the best share of each type, and what scores are worth."""

import collections
import math
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple, Protocol, TypeVar

import numpy as np


class Read(NamedTuple):
    """A question and its answer.

    Attributes:
      question, answer: the words. kind: the type they are ranked within.
      score: from 0 to 1.
    """

    question: str
    answer: str
    kind: str
    score: float


class Ranked(Protocol):
    """What ranking asks of a `Read`; `answer`: equal for equal words."""

    @property
    def kind(self) -> str: ...

    @property
    def answer(self) -> Hashable: ...

    @property
    def score(self) -> float: ...


class Scored(Protocol):
    """What has a question and an answer, and a score for them.

    Attributes:
      number: tells it from the others.
      true: whether the answer is true; None where nobody knows.
      read: question, answer and score.
    """

    @property
    def number(self) -> int: ...

    @property
    def true(self) -> bool | None: ...

    @property
    def read(self) -> Ranked: ...


Item = TypeVar("Item", bound=Scored)


def highest(found: Scored) -> tuple[float, int]:
    """Ranks by score; of equal ones the lower number comes first."""
    return -found.read.score, found.number


def lowest(found: Scored) -> tuple[float, int]:
    """The other way round, but for equal scores."""
    return found.read.score, found.number


def share_of_types(
    found: Sequence[Item], keep: float, balance: bool, rank: Callable
) -> list[Item]:
    """The first of each type, by number.

    How many they are depends on the types and answers alone: it is the same
    for every ranking. Shares are rounded, halves up.

    Args:
      keep: the share.
      balance: whether an answer may be no more frequent than the runner-up of
        its type.
      rank: key to sort by.
    """
    types: dict[str, list[Item]] = {}
    for one in found:
        types.setdefault(one.read.kind, []).append(one)
    kept: list[Item] = []
    for same in types.values():
        answers = (one.read.answer for one in same)
        counts: dict[Hashable, int] = collections.Counter(answers)
        if balance:
            runner_up = sorted([0, *counts.values()])[-2]
            counts = {a: min(n, runner_up) for a, n in counts.items()}
            room = {a: math.ceil(keep * n) for a, n in counts.items()}
        else:
            room = dict(counts)
        left = int(keep * sum(counts.values()) + 0.5)
        for one in sorted(same, key=rank):
            answer = one.read.answer
            if left and room[answer]:
                kept.append(one)
                left, room[answer] = left - 1, room[answer] - 1
    return sorted(kept, key=lambda one: one.number)


def by_decile(found: Sequence[Scored]) -> list[dict]:
    """Whether a high score is a sign of truth: tenths by score.

    Returns:
      lowest first, of those that have pairs: `score`, their mean; `true`,
      percent of those of which it is known, or None; `pairs`, how many.
    """
    ranked = sorted(found, key=lowest)
    ends = [len(ranked) * i // 10 for i in range(11)]
    tenths = [
        ranked[a:b] for a, b in zip(ends[:-1], ends[1:], strict=True) if b > a
    ]
    told = []
    for tenth in tenths:
        true = mean([one.true for one in tenth if one.true is not None])
        told.append(
            {
                "score": mean([one.read.score for one in tenth]),
                "true": None if true is None else 100.0 * true,
                "pairs": len(tenth),
            }
        )
    return told


def mean(values: Sequence[float]) -> float | None:
    """None if there are none."""
    return float(np.mean(values)) if len(values) else None
