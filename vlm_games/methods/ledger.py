"""What choosing asks of an iteration's games, in columns.

    game   kept  outcome  image  ...       turn   game  credit  true  ...
      0    yes   success    17               0      0     0.8    yes
      1    no    lose        3               1      0     0.1     ?
      2    no    success    17               2      1     ...

Words stay in the records: of very many games there is no room for them.
"""

import array
import dataclasses
import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vlm_games.data.records import OUTCOMES, GameRecord, Turn
from vlm_games.games.filters import UNKNOWN
from vlm_games.methods.method import Workbench

# One answer to learn: (image, question, answer).
Answer = tuple[int, str, str]


@dataclasses.dataclass(frozen=True)
class Ledger:
    """Games of an iteration, complete or not: G of them, with T turns.

    Attributes:
      records: what was read, for the words.
      kept: bool [G].
      outcomes: int8 [G], places in OUTCOMES.
      images: int32 [G], the targets.
      copied: bool [G], whether a corrupted copy was among the images.
      filters: int8 [G] of each filter: 1, 0 or UNKNOWN.
      games: int32 [T], whose turns they are; they are in order.
      places: int16 [T], of the turns within their games.
      credit: float64 [T], nats; NaN where it is unknown.
      true: int8 [T]: 1, 0 or UNKNOWN.
      names: of the strata; kinds: of these, the kinds of question.
      strata: int32 [T], places in `names`.
      answers: int32 [T], numbers of the words, in order of their first use.
      sureness: float64 [T], log-probabilities of the answers, nats.
      scores: float64 [T], of what was told again; NaN where nobody asked.
      holds: int8 [T], whether the answer holds, put openly: 1, 0 or UNKNOWN.
      questions: uint64 [T], digests of the words.
      length: words of all questions together.
    """

    records: Sequence[GameRecord]
    kept: np.ndarray
    outcomes: np.ndarray
    images: np.ndarray
    copied: np.ndarray
    filters: Mapping[str, np.ndarray]
    games: np.ndarray
    places: np.ndarray
    credit: np.ndarray
    true: np.ndarray
    names: Sequence[str]
    kinds: Sequence[str]
    strata: np.ndarray
    answers: np.ndarray
    sureness: np.ndarray
    scores: np.ndarray
    holds: np.ndarray
    questions: np.ndarray
    length: int

    @property
    def complete(self) -> np.ndarray:
        """bool [G]: not aborted."""
        return self.outcomes != OUTCOMES.index("aborted")

    @property
    def won(self) -> np.ndarray:
        """bool [G]: the Guesser named the target."""
        return self.outcomes == OUTCOMES.index("success")

    def turns_of(self, games: np.ndarray) -> np.ndarray:
        """int [n], all turns of some games, in order; `games`: bool [G]."""
        return np.flatnonzero(games[self.games])

    def answer(self, turn: int, given: int | None = None) -> Answer:
        """What is learned of a turn; `given`: the turn whose answer is taken
        in place of its own."""
        asked = self._turn(turn)
        heard = asked if given in (None, turn) else self._turn(given)
        image = int(self.images[self.games[turn]])
        return image, asked.question, heard.answer

    def _turn(self, turn: int) -> Turn:
        return self.records[self.games[turn]].turns[self.places[turn]]


def read_ledger(records: Sequence[GameRecord], bench: Workbench) -> Ledger:
    """One pass over the records, of which none is held."""
    columns: dict[str, array.array[Any]] = {
        name: array.array(code) for name, code in _CODES.items()
    }
    filters: dict[str, array.array[int]] = {}
    strata: dict[str, int] = {}  # by name, in order of their first use
    answers: dict[str, int] = {}
    length = 0
    for game, record in enumerate(records):
        columns["kept"].append(record.kept)
        columns["outcomes"].append(OUTCOMES.index(record.outcome))
        columns["images"].append(record.images[record.target])
        columns["copied"].append(record.copy is not None)
        _add_verdicts(filters, game, record.filters)
        for place, turn in enumerate(record.turns):
            name = bench.stratum(turn.question, turn.answer)
            score = None if turn.retold is None else turn.retold.score
            columns["games"].append(game)
            columns["places"].append(place)
            columns["credit"].append(_number(turn.credit))
            columns["true"].append(UNKNOWN if turn.true is None else turn.true)
            columns["strata"].append(strata.setdefault(name, len(strata)))
            said = answers.setdefault(turn.answer, len(answers))
            columns["answers"].append(said)
            columns["sureness"].append(turn.answer_logprob)
            columns["scores"].append(_number(score))
            holds = UNKNOWN if turn.openly is None else turn.openly.holds
            columns["holds"].append(holds)
            columns["questions"].append(_digest(turn.question))
            length += len(turn.question.split())
    found = {name: np.array(column) for name, column in columns.items()}
    found |= {name: found[name].astype(bool) for name in ("kept", "copied")}
    names = list(strata)
    return Ledger(
        records=records,
        filters={name: np.array(column) for name, column in filters.items()},
        names=names,
        kinds=[name.partition("/")[0] for name in names],
        length=length,
        **found,
    )


def _add_verdicts(filters, game: int, verdicts: Mapping[str, bool]) -> None:
    """A row of the columns of verdicts; each game may have some of them."""
    for name in verdicts:
        if name not in filters:
            filters[name] = array.array("b", [UNKNOWN] * game)
    for name, column in filters.items():
        column.append(verdicts.get(name, UNKNOWN))


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _digest(words: str) -> int:
    """64 bits: of ten million questions, two others share one with a
    probability of 3e-6, and one more is then counted as the same."""
    content = words.encode("utf-8", "surrogatepass")
    found = hashlib.blake2b(content, digest_size=8).digest()
    return int.from_bytes(found, "little")


# Of `array`: b int8, h int16, i int32, Q uint64, d float64.
_CODES = {
    "kept": "b",
    "outcomes": "b",
    "images": "i",
    "copied": "b",
    "games": "i",
    "places": "h",
    "credit": "d",
    "true": "b",
    "strata": "i",
    "answers": "i",
    "sureness": "d",
    "scores": "d",
    "holds": "b",
    "questions": "Q",
}
