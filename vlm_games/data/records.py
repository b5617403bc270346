"""A played game as it lies on disk; see `data.shards`."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from vlm_games.data import schema
from vlm_games.data.schema import Record, RecordError

OUTCOMES = ("success", "lose", "aborted")


@dataclasses.dataclass(frozen=True, slots=True)
class Retold:
    """A question and its answer, each told again of the target and the other.

    Attributes:
      question, answer: as they were told again.
      score: how alike both are to the first ones, from 0 to 1.
      tokens: how many were said for it.
    """

    question: str
    answer: str
    score: float
    tokens: int


@dataclasses.dataclass(frozen=True, slots=True)
class Openly:
    """A leading question, put openly; see `games.openly`.

    Attributes:
      question, answer: as put openly, of the target.
      holds: whether the answer to the leading question agrees with it.
    """

    question: str
    answer: str
    holds: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Turn:
    """One question and its answer.

    Attributes:
      question: what the Guesser asked.
      answer: what the Describer, who sees the target alone, replied.
      summary: the Guesser's summary of the dialog before this question.
      question_logprob: log-probability of the question under the Guesser,
        summed over its tokens (nats).
      answer_logprob: the same for the answer under the Describer.
      belief: probability of each image of being the target after this turn,
        one per image; None where the guess uses none.
      credit: how much better the answer fits the target than the average
        image of the game (nats); None where nothing was compared.
      true: whether the answer is true of the target; None where nobody knows.
      retold: None where nobody asked for it again.
      openly: None where nobody put the question openly.
    """

    question: str
    answer: str
    summary: str
    question_logprob: float
    answer_logprob: float
    belief: tuple[float, ...] | None
    credit: float | None
    true: bool | None
    retold: Retold | None = None
    openly: Openly | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class GameRecord(Record):
    """One game from the first question to the filters' verdict.

    Attributes:
      game: number of the game within its iteration.
      iteration: round of self-improvement, 0 for the base.
      seed: seed the game was drawn with.
      images: indices into the image source, in the Guesser's order.
      names: the source's names of these images; a copy's says how it was
        corrupted.
      target: position of the target in `images`.
      turns: in the order they were played.
      final_summary: the Guesser's summary before the guess.
      guess: position guessed, None where no guess could be read.
      belief: probability of each image at the end, one per image.
      outcome: one of OUTCOMES.
      reason: why the game was aborted; None for the others.
      filters: name of each filter -> whether the game passed it.
      kept: whether the game becomes training data.
      copy: position of the image that was a corrupted copy of the target, and
        has its index; None if there was none.
    """

    game: int
    iteration: int
    seed: int
    images: tuple[int, ...]
    names: tuple[str, ...]
    target: int
    turns: tuple[Turn, ...]
    final_summary: str
    guess: int | None
    belief: tuple[float, ...]
    outcome: str
    reason: str | None
    filters: Mapping[str, bool]
    kept: bool
    copy: int | None = None

    @classmethod
    def check(cls, found: Any, place: str) -> dict[str, Any]:
        """Each field by itself, then those that must agree."""
        fields = schema.read_fields(found, _GAME_CHECKS, place)
        return _check_whole(fields, place)

    def place(self) -> str:
        return f"game {self.game}"


def _check_whole(fields: dict[str, Any], place: str) -> dict[str, Any]:
    count = len(fields["images"])
    _expect_length(fields["names"], count, place, "names")
    _expect_length(fields["belief"], count, place, "belief")
    turns = []
    for i, turn in enumerate(fields["turns"]):
        prefix = f"turns[{i}]."
        turn = schema.read_fields(turn, _TURN_CHECKS, place, prefix)
        if turn["belief"] is not None:
            _expect_length(turn["belief"], count, place, prefix + "belief")
        turns.append(Turn(**turn))
    for name in ("target", "guess", "copy"):
        position = fields[name]
        if position is not None and position >= count:
            raise RecordError(
                f"{place}, field {name}: {position} is no position among "
                f"{count} images"
            )
    if fields["copy"] == fields["target"]:
        raise RecordError(
            f"{place}, field copy: {fields['copy']} is the target's own place"
        )
    _check_outcome(fields, place)
    return {**fields, "turns": tuple(turns)}


def _check_outcome(fields: Mapping[str, Any], place: str) -> None:
    outcome, guess, target = (fields[k] for k in ("outcome", "guess", "target"))
    if outcome != "aborted" and (outcome == "success") != (guess == target):
        raise RecordError(
            f"{place}, field outcome: {outcome!r} with guess {guess} and "
            f"target {target}"
        )
    if (outcome == "aborted") != (fields["reason"] is not None):
        raise RecordError(
            f"{place}, field reason: {schema.show(fields['reason'])} with "
            f"outcome {outcome!r}; aborted games give a reason, others null"
        )


def _expect_length(value: tuple, count: int, place: str, name: str) -> None:
    if len(value) != count:
        raise RecordError(
            f"{place}, field {name}: expected one item for each of the "
            f"{count} images, found {len(value)}"
        )


def _retold(found: Any, place: str) -> Retold:
    return Retold(**schema.read_fields(found, _RETOLD_CHECKS, place))


def _openly(found: Any, place: str) -> Openly:
    return Openly(**schema.read_fields(found, _OPENLY_CHECKS, place))


_OPENLY_CHECKS = {
    "question": schema.is_text,
    "answer": schema.is_text,
    "holds": schema.is_bool,
}

_RETOLD_CHECKS = {
    "question": schema.is_text,
    "answer": schema.is_text,
    "score": schema.is_number,
    "tokens": schema.is_count,
}

_TURN_CHECKS = {
    "question": schema.is_text,
    "answer": schema.is_text,
    "summary": schema.is_text,
    "question_logprob": schema.is_number,
    "answer_logprob": schema.is_number,
    "belief": schema.optional(schema.list_of(schema.is_number)),
    "credit": schema.optional(schema.is_number),
    "true": schema.optional(schema.is_bool),
    "retold": schema.optional(_retold),
    "openly": schema.optional(_openly),
}

_GAME_CHECKS = {
    "game": schema.is_count,
    "iteration": schema.is_count,
    "seed": schema.is_count,
    "images": schema.list_of(schema.is_count),
    "names": schema.list_of(schema.is_text),
    "target": schema.is_count,
    "turns": schema.list_of(lambda turn, place: turn),  # by _TURN_CHECKS
    "final_summary": schema.is_text,
    "guess": schema.optional(schema.is_count),
    "belief": schema.list_of(schema.is_number),
    "outcome": schema.one_of(*OUTCOMES),
    "reason": schema.optional(schema.is_text),
    "filters": schema.table_of(schema.is_bool),
    "kept": schema.is_bool,
    "copy": schema.optional(schema.is_count),
}
