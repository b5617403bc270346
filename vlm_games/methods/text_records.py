"""A situation in words with a multiple choice, as it lies on disk."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from vlm_games.data import schema
from vlm_games.data.schema import Record, RecordError
from vlm_games.games.choice import marks_alone, parse_mark, shuffle_options
from vlm_games.games.instructions import Instructions, read_back

# Why a record is not kept. All but the last: it cannot be asked about.
UNFINISHED = "unfinished"
UNREADABLE = "unreadable"
EQUAL = "equal options"
NO_ANSWER = "no answer"
NAMES = "rationale names an option"
UNSURE = "another answer when asked again"
REASONS = (UNFINISHED, UNREADABLE, EQUAL, NO_ANSWER, NAMES, UNSURE)


@dataclasses.dataclass(frozen=True)
class SituationRecord(Record):
    """One record from the words of the model to the verdict of the checks.

    Attributes:
      number: of the record within its iteration.
      iteration: round of self-improvement. seed: it was drawn with.
      written: what the model wrote; the next five were read from it.
      situation, question: in words; empty where nothing could be read.
      options: in the order they were written.
      answer: position of the one said to be right; None if none was named.
      rationale: why.
      checks: what was answered under other orders of the options, each as a
        position in `options`; None where no option was named.
      kept: whether every check gave the answer.
      reason: one of REASONS; None if it is kept.
      tokens: that were said for it, checks included.
      true: whether the answer is right of the situation; None where nobody
        knows.
    """

    number: int
    iteration: int
    seed: int
    written: str
    situation: str
    question: str
    options: tuple[str, ...]
    answer: int | None
    rationale: str
    checks: tuple[int | None, ...]
    kept: bool
    reason: str | None
    tokens: int
    true: bool | None

    CHECKS = {
        "number": schema.is_count,
        "iteration": schema.is_count,
        "seed": schema.is_count,
        "written": schema.is_text,
        "situation": schema.is_text,
        "question": schema.is_text,
        "options": schema.list_of(schema.is_text),
        "answer": schema.optional(schema.is_count),
        "rationale": schema.is_text,
        "checks": schema.list_of(schema.optional(schema.is_count)),
        "kept": schema.is_bool,
        "reason": schema.optional(schema.one_of(*REASONS)),
        "tokens": schema.is_count,
        "true": schema.optional(schema.is_bool),
    }

    @property
    def readable(self) -> bool:
        """Whether it can be asked about."""
        return self.reason in (None, UNSURE)

    @property
    def same(self) -> tuple[str, str]:
        """Equal for records of the same situation and question."""
        situation, question = (
            " ".join(text.casefold().split())
            for text in (self.situation, self.question)
        )
        return situation, question

    @classmethod
    def check(cls, found: Any, place: str) -> dict[str, Any]:
        """Each field by itself, then those that must agree."""
        fields = super().check(found, place)
        if fields["kept"] != (fields["reason"] is None):
            raise RecordError(
                f"{place}, field reason: {schema.show(fields['reason'])} with "
                f"kept={fields['kept']}; what is kept has none"
            )
        if fields["reason"] in (None, UNSURE) and fields["answer"] is None:
            raise RecordError(
                f"{place}, field answer: null, but the record was readable"
            )
        for position in (fields["answer"], *fields["checks"]):
            if position is not None and position >= len(fields["options"]):
                raise RecordError(
                    f"{place}, fields answer and checks: {position} is no "
                    f"position among {len(fields['options'])} options"
                )
        return fields

    def place(self) -> str:
        return f"situation {self.number}"


@dataclasses.dataclass(frozen=True)
class Written:
    """What was read from the model's words; see `SituationRecord`.

    Attributes:
      reason: why it cannot be asked about, or None.
    """

    situation: str = ""
    question: str = ""
    options: tuple[str, ...] = ()
    answer: int | None = None
    rationale: str = ""
    reason: str | None = None


def read_written(instructions: Instructions, count: int, text: str) -> Written:
    """Reads a record of `count` options from the words of the model."""
    # Models that write for people set names in bold.
    text = text.replace("**", "")
    found = read_back(instructions.situation_with(count), text)
    if found is None:
        return Written(reason=UNREADABLE)
    options = tuple(found[f"option_{i}"] for i in range(count))
    marks = instructions.marks[:count]
    answer = parse_mark(found["answer"], marks)
    read = Written(
        found["situation"],
        found["question"],
        options,
        answer,
        found["rationale"],
    )
    reason = None
    if any("\n" in option for option in options):
        reason = UNREADABLE  # of several lines: a list that goes on
    elif len({option.casefold() for option in options}) < count:
        reason = EQUAL
    elif answer is None:
        reason = NO_ANSWER
    elif marks_alone(read.rationale, marks):
        reason = NAMES  # it would be wrong under another order
    return dataclasses.replace(read, reason=reason)


def check_orders(
    rng: np.random.Generator, count: int, answer: int, checks: int
) -> list[tuple[int, ...]]:
    """In which orders the options are shown when the answer is asked again.

    The right one stands somewhere else each time, first of all not where it
    was written, until it stood everywhere: who always names the same mark
    passes no two checks.

    Returns:
      per check, positions in the record's options.
    """
    start = 1 + answer
    return [
        shuffle_options(rng, range(count), answer, (start + k) % count)[0]
        for k in range(checks)
    ]


def read_checks(
    orders: Sequence[Sequence[int]], texts: Sequence[str], marks: Sequence[str]
) -> tuple[int | None, ...]:
    """What was answered to each check, as positions in the record's options."""
    places = [parse_mark(text, marks) for text in texts]
    return tuple(
        None if place is None else order[place]
        for order, place in zip(orders, places, strict=True)
    )
