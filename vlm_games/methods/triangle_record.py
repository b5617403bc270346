"""A question-answer pair and what became of it, as it lies on disk."""

import dataclasses
from typing import Any

from vlm_games.data import schema
from vlm_games.data.schema import Record, RecordError
from vlm_games.methods.method import Surroundings
from vlm_games.methods.shares import Read
from vlm_games.report.candidates import CandidateView, Picture


@dataclasses.dataclass(frozen=True)
class PairRecord(Record):
    """What was said of one image; which are kept shows when all are made.

    Attributes:
      number: of the pair within its iteration.
      iteration: round of self-improvement. seed: the run's.
      image: index into the image source. name: the source's name of it.
      said: the words in which the pair was told.
      question, answer: read from them; None if they could not be, as are then
        all fields below but `tokens`.
      kind: the type within which scores are compared.
      form: what is compared, of `similarity.FORMS`.
      question_again: told of image and answer.
      answer_again: told of image and question.
      similarity_question: None where questions are not compared.
      similarity_answer, score: from 0 to 1.
      tokens: how many were said for it.
      true: whether the answer is true; None where nobody knows.
    """

    number: int
    iteration: int
    seed: int
    image: int
    name: str
    said: str
    question: str | None
    answer: str | None
    kind: str | None
    form: str | None
    question_again: str | None
    answer_again: str | None
    similarity_question: float | None
    similarity_answer: float | None
    score: float | None
    tokens: int
    true: bool | None

    @classmethod
    def check(cls, found: Any, place: str) -> dict[str, Any]:
        """Each field by itself; and all of a pair, or nothing."""
        fields = schema.read_fields(found, _CHECKS, place)
        missing = [name for name in _OF_A_PAIR if fields[name] is None]
        if missing and len(missing) < len(_OF_A_PAIR):
            raise RecordError(
                f"{place}, field {missing[0]}: null, though the pair was read"
            )
        return fields

    def place(self) -> str:
        return f"pair {self.number}"

    @property
    def read(self) -> Read:
        """The parts of a pair that could be read.

        Raises:
          ValueError: it could not be.
        """
        if (
            self.question is None
            or self.answer is None
            or self.kind is None
            or self.score is None
        ):
            raise ValueError(
                f"{self.place()} of iteration {self.iteration} could not be "
                "read: leave out records whose score is None."
            )
        return Read(self.question, self.answer, self.kind, self.score)

    def view(self, around: Surroundings, kept: bool) -> CandidateView:
        """For a page; `kept` shows when all pairs are made."""
        lines: list[tuple[str, str, bool | None]]
        lines = [("said", self.said, None)]
        note = "it could not be read"
        if self.score is not None:
            note = f"score {self.score:.2f} among {self.kind}"
            lines = [
                ("question", self.question or "", None),
                ("answer", self.answer or "", self.true),
                ("question again", self.question_again or "", None),
                ("answer again", self.answer_again or "", None),
            ]
        name = f"Pair {self.number}"
        picture = Picture("", lambda: around.images[self.image])
        return CandidateView(name, self.iteration, kept, note, [picture], lines)


_text, _number = map(schema.optional, (schema.is_text, schema.is_number))

_CHECKS = {
    "number": schema.is_count,
    "iteration": schema.is_count,
    "seed": schema.is_count,
    "image": schema.is_count,
    "name": schema.is_text,
    "said": schema.is_text,
    "question": _text,
    "answer": _text,
    "kind": _text,
    "form": _text,
    "question_again": _text,
    "answer_again": _text,
    "similarity_question": _number,
    "similarity_answer": _number,
    "score": _number,
    "tokens": schema.is_count,
    "true": schema.optional(schema.is_bool),
}

_OF_A_PAIR = (
    "question",
    "answer",
    "kind",
    "form",
    "question_again",
    "answer_again",
    "similarity_answer",
    "score",
)
# Fields of a record whose pair could not be read.
NOT_READ = dict.fromkeys((*_OF_A_PAIR, "similarity_question", "true"))
