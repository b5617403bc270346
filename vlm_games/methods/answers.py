"""Which answers of games count: by credit, by consistency, in balance."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from vlm_games.data.records import GameRecord
from vlm_games.methods.method import Workbench
from vlm_games.methods.shares import Read, highest, share_of_types

# One answer to learn: (image, question, answer).
Answer = tuple[int, str, str]


@dataclasses.dataclass(frozen=True)
class GameAnswer:
    """An answer of a game.

    Attributes:
      number: its place among the answers at hand.
      image: index of the target. question, answer: the words.
      kind: of the question.
      score: how well both survived being told again; None if nobody asked.
      true: whether it is true; None where nobody knows.
    """

    number: int
    image: int
    question: str
    answer: str
    kind: str
    score: float | None
    true: bool | None

    @property
    def words(self) -> Answer:
        """As it is learned."""
        return self.image, self.question, self.answer

    @property
    def read(self) -> Read:
        """As it is ranked.

        Raises:
          ValueError: it has no score.
        """
        if self.score is None:
            raise ValueError(
                f"answer {self.number}, {self.question!r}: it was not told "
                "again, so it has no score to rank it by."
            )
        return Read(self.question, self.answer, self.kind, self.score)


def answers_of(record: GameRecord) -> list[Answer]:
    """All that was answered in a game."""
    image = record.images[record.target]
    return [(image, t.question, t.answer) for t in record.turns]


def credited(
    games: Sequence[GameRecord], least: float, bench: Workbench
) -> list[GameAnswer]:
    """Answers with more credit than `least`, or with unknown credit.

    Credit per turn instead of per game: an answer that fits every image of
    the game as well taught the Guesser nothing, even if the game was won.
    """
    turns = [
        (game.images[game.target], turn)
        for game in games
        for turn in game.turns
        if turn.credit is None or turn.credit > least
    ]
    return [
        GameAnswer(
            number,
            image,
            turn.question,
            turn.answer,
            bench.stratum(turn.question, turn.answer).partition("/")[0],
            None if turn.retold is None else turn.retold.score,
            turn.true,
        )
        for number, (image, turn) in enumerate(turns)
    ]


def consistent(
    found: Sequence[GameAnswer], config, rank: Callable = highest
) -> list[GameAnswer]:
    """The share `config.consistent` of each kind; see `share_of_types`.

    Yes and no are told again the better the more the model leans to them, so
    that the balance is kept within the share.

    Args:
      found: with scores. config: `config.game`. rank: which come first.
    """
    return share_of_types(found, config.consistent, config.balance, rank)


def telling_answers(
    games: Sequence[GameRecord],
    config,
    bench: Workbench,
    rng: np.random.Generator,
    rank: Callable = highest,
) -> list[Answer]:
    """Answers of kept games that say something, in balance.

    Args:
      config: `config.game`.
      rank: which scores come first, where answers were told again.
    """
    found = credited(games, config.credit, bench)
    if config.consistent:
        return [a.words for a in consistent(found, config, rank)]
    words = [a.words for a in found]
    return balance(words, bench, rng) if config.balance else words


def balance(found: Sequence[Answer], bench: Workbench, rng) -> list[Answer]:
    """No answer to a kind of question outnumbers the runner-up.

    A model that leans to "yes", or to "none", would else teach itself to lean
    further. An answer that has no rival is dropped with its kind.
    """
    strata: dict[str, dict[str, list[Answer]]] = {}
    for answer in found:
        kind, _, said_ = bench.stratum(answer[1], answer[2]).partition("/")
        strata.setdefault(kind, {}).setdefault(said_, []).append(answer)
    balanced = []
    for by_answer in strata.values():
        counts = sorted(len(same) for same in by_answer.values())
        most = counts[-2] if len(counts) > 1 else 0
        for same in by_answer.values():
            balanced += sample(rng, same, most)
    return balanced


def sample(rng: np.random.Generator, items: list, count: int) -> list:
    """At most `count` of `items`, in order, without repeats."""
    if len(items) <= count:
        return items
    chosen = np.sort(rng.choice(len(items), count, replace=False))
    return [items[i] for i in chosen]


def shuffle_answers(answers, bench: Workbench, rng) -> list[Answer]:
    """The same questions and answers, paired at random within a kind."""
    kinds: dict[str, list[int]] = {}
    for i, (_, question, answer) in enumerate(answers):
        kind = bench.stratum(question, answer).partition("/")[0]
        kinds.setdefault(kind, []).append(i)
    shuffled = list(answers)
    for places in kinds.values():
        for i, j in zip(places, rng.permutation(places), strict=True):
            image, question, _ = answers[i]
            shuffled[i] = (image, question, answers[j][2])
    return shuffled
