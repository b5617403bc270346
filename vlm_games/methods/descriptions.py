"""A pair of descriptions as it lies on disk; see `data.shards`."""

import dataclasses
from typing import Any

from vlm_games.data import schema
from vlm_games.data.schema import Record

INVENTED, BLURRED, RECOLOURED = "invented", "blurred", "recoloured"
SOURCES = (INVENTED, BLURRED, RECOLOURED)


@dataclasses.dataclass(frozen=True)
class Description:
    """What the model said of an image.

    Attributes:
      text: the words.
      ended: whether they came to an end by themselves.
      logprob: of the words as they were said, summed (nats).
      tokens: how many were said.
      truths: how many things it says of the clean image that are true, and how
        many things it says; None where nobody knows.
    """

    text: str
    ended: bool
    logprob: float
    tokens: int
    truths: tuple[int, int] | None

    def sound(self, cut: bool) -> bool:
        """Whether it can be learned from; `cut`: even if it does not end."""
        return (self.ended or cut) and bool(self.text)

    @property
    def faithful(self) -> bool | None:
        """Whether all that it says is true; None where nobody knows."""
        return None if self.truths is None else self.truths[0] == self.truths[1]


@dataclasses.dataclass(frozen=True)
class DescriptionRecord(Record):
    """Two descriptions of an image, one to be preferred.

    Attributes:
      number: within the iteration. iteration, seed: of the run.
      image: index into the images. name: the source's name of it.
      instruction: the plain one, that both count as answers to.
      chosen: the answer to a careful instruction, of the clean image.
      rejected: an answer that strays. source: of SOURCES, what led it astray.
      plain: an answer to `instruction`, of the clean image, for the control
        "uncorrupted"; None if that is not asked for.
      kept: whether both are sound and not the same.
    """

    number: int
    iteration: int
    seed: int
    image: int
    name: str
    instruction: str
    chosen: Description
    rejected: Description
    source: str
    plain: Description | None
    kept: bool

    def place(self) -> str:
        return f"description {self.number}"


def _description(found: Any, place: str) -> Description:
    return Description(**schema.read_fields(found, _CHECKS, place))


_CHECKS = {
    "text": schema.is_text,
    "ended": schema.is_bool,
    "logprob": schema.is_number,
    "tokens": schema.is_count,
    "truths": schema.optional(schema.list_of(schema.is_count)),
}

DescriptionRecord.CHECKS = {
    "number": schema.is_count,
    "iteration": schema.is_count,
    "seed": schema.is_count,
    "image": schema.is_count,
    "name": schema.is_text,
    "instruction": schema.is_text,
    "chosen": _description,
    "rejected": _description,
    "source": schema.one_of(*SOURCES),
    "plain": schema.optional(_description),
    "kept": schema.is_bool,
}
