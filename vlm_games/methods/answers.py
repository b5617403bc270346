"""Which answers of games count: by credit, upheld, the surest, in balance.

Answers are numbers of turns in a ledger; see `methods.ledger`.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

from vlm_games.data.records import GameRecord
from vlm_games.games.filters import UNKNOWN
from vlm_games.methods.ledger import Answer, Ledger, read_ledger
from vlm_games.methods.method import Workbench
from vlm_games.methods.shares import highest, share_of_types


@dataclasses.dataclass(frozen=True, slots=True)
class GameAnswer:
    """An answer of a game, as it is ranked; see `shares.Scored`.

    Attributes:
      number: of its turn in the ledger.
      kind: of the question. answer: number of the words.
      score: how well both survived being told again.
      true: whether it is true; None where nobody knows.
    """

    number: int
    kind: str
    answer: int
    score: float
    true: bool | None

    @property
    def read(self) -> "GameAnswer":
        return self


def credited(
    ledger: Ledger, games: np.ndarray, least: float = -np.inf
) -> np.ndarray:
    """int [n]: answers with more credit than `least`, or with unknown credit.

    Credit per turn instead of per game: an answer that fits every image of
    the game as well taught the Guesser nothing, even if the game was won.

    Args:
      games: bool [G], whose answers.
    """
    found = ledger.turns_of(games)
    credit = ledger.credit[found]
    return found[np.isnan(credit) | (credit > least)]


def upheld(ledger: Ledger, found: np.ndarray) -> np.ndarray:
    """int [m]: those that hold, put openly, or that nobody put openly."""
    return found[ledger.holds[found] != 0]


def scored(ledger: Ledger, found: np.ndarray) -> list[GameAnswer]:
    """Answers to be ranked.

    Raises:
      ValueError: one has no score.
    """
    lacking = found[np.isnan(ledger.scores[found])]
    if len(lacking):
        _, question, _ = ledger.answer(lacking[0])
        raise ValueError(
            f"answer {lacking[0]}, {question!r}: it was not told again, so it "
            "has no score to rank it by."
        )
    return [
        GameAnswer(
            turn,
            ledger.kinds[ledger.strata[turn]],
            int(ledger.answers[turn]),
            float(ledger.scores[turn]),
            None if ledger.true[turn] == UNKNOWN else bool(ledger.true[turn]),
        )
        for turn in found.tolist()
    ]


def consistent(
    ledger: Ledger, found: np.ndarray, config, rank: Callable = highest
) -> np.ndarray:
    """int [m]: the share `config.consistent` of each kind; see
    `share_of_types`.

    Yes and no are told again the better the more the model leans to them, so
    that the balance is kept within the share.

    Args:
      found: answers with scores. config: `config.game`. rank: which come
        first.
    """
    ranked = scored(ledger, found)
    best = share_of_types(ranked, config.consistent, config.balance, rank)
    return np.array([one.number for one in best], np.int64)


def telling(
    ledger: Ledger,
    games: np.ndarray,
    config,
    rng: np.random.Generator,
    rank: Callable = highest,
) -> np.ndarray:
    """int [n]: answers of games that say something, in balance.

    Args:
      games: bool [G]. config: `config.game`.
      rank: which scores come first, where answers were told again.
    """
    found = upheld(ledger, credited(ledger, games, config.credit))
    if config.sure:
        found = surest(ledger, found, config)
    if config.consistent:
        return consistent(ledger, found, config, rank)
    return balance(ledger, found, rng) if config.balance else found


def telling_answers(
    games: Sequence[GameRecord], config, bench: Workbench, rng
) -> list[Answer]:
    """The same of games that are in memory, with the words."""
    ledger = read_ledger(games, bench)
    found = telling(ledger, np.ones(len(games), bool), config, rng)
    return [ledger.answer(turn) for turn in found]


def surest(ledger: Ledger, found: np.ndarray, config) -> np.ndarray:
    """int [m]: of each answer to a kind of question the share `config.sure`,
    those that the Describer was surest of.

    Only equal answers are compared: a model that leans to "yes" is surer of
    it. What balance would drop is dropped here, where there is a choice.

    Args:
      config: `config.game`.
    """
    best = [np.zeros(0, np.int64)]
    for by_answer in kinds_of(ledger, found):
        most = runner_up(by_answer) if config.balance else len(found)
        for same in by_answer:
            count = math.ceil(config.sure * min(len(same), most))
            order = np.argsort(-ledger.sureness[same], kind="stable")
            best.append(np.sort(same[order[:count]]))
    return np.concatenate(best)


def balance(ledger: Ledger, found: np.ndarray, rng) -> np.ndarray:
    """int [m]: no answer to a kind of question outnumbers the runner-up.

    A model that leans to "yes", or to "none", would else teach itself to lean
    further. An answer that has no rival is dropped with its kind.
    """
    balanced = [np.zeros(0, np.int64)]
    for by_answer in kinds_of(ledger, found):
        most = runner_up(by_answer)
        balanced += [sample(rng, same, most) for same in by_answer]
    return np.concatenate(balanced)


def kinds_of(ledger: Ledger, found: np.ndarray) -> list[list[np.ndarray]]:
    """Of every kind of question the turns of every answer."""
    kinds: dict[str, list[np.ndarray]] = {}
    for same in group(ledger.strata[found]):
        kind = ledger.kinds[ledger.strata[found[same[0]]]]
        kinds.setdefault(kind, []).append(found[same])
    return list(kinds.values())


def runner_up(by_answer: Sequence[np.ndarray]) -> int:
    """How often the answer comes that is the second most frequent."""
    return sorted([0, *map(len, by_answer)])[-2]


def group(numbers: np.ndarray) -> list[np.ndarray]:
    """Places of equal numbers, in order; groups by their first places."""
    if not len(numbers):
        return []
    order = np.argsort(numbers, kind="stable")
    ends = np.flatnonzero(np.diff(numbers[order])) + 1
    return sorted(np.split(order, ends), key=lambda places: places[0])


def sample(
    rng: np.random.Generator, items: np.ndarray, count: int
) -> np.ndarray:
    """At most `count` of `items`, in order, without repeats."""
    if len(items) <= count:
        return items
    return items[np.sort(rng.choice(len(items), count, replace=False))]


def shuffle_answers(
    answers: Sequence[Answer], bench: Workbench, rng
) -> list[Answer]:
    """The same questions and answers, paired at random within a kind."""
    names = (bench.stratum(question, said) for _, question, said in answers)
    kinds = [name.partition("/")[0] for name in names]
    return [
        (image, question, answers[other][2])
        for (image, question, _), other in zip(
            answers, shuffle_within(kinds, rng), strict=True
        )
    ]


def shuffle_within(kinds: Sequence[str], rng) -> np.ndarray:
    """int [n]: for every place one of the same kind, each once."""
    places: dict[str, list[int]] = {}
    for place, kind in enumerate(kinds):
        places.setdefault(kind, []).append(place)
    found = np.zeros(len(kinds), np.int64)
    for same in places.values():
        found[same] = rng.permutation(same)
    return found
