"""Which games, or other candidates, of a run the gallery shows."""

import dataclasses
import re
import urllib.parse
from collections.abc import Iterable, Mapping
from typing import ClassVar, Self

from vlm_games.data.records import GameRecord
from vlm_games.methods.method import MAIN
from vlm_games.report.candidates import CandidateView

PAGE = 24  # candidates on a page


@dataclasses.dataclass(frozen=True)
class Query:
    """What is asked for; "" where it does not matter.

    Attributes:
      arm: of the run. iteration: its number.
      word: that is said, in any case of letters.
      kept: "yes" or "no". page: from 1.
    """

    PATH: ClassVar[str]

    arm: str = MAIN
    iteration: str = ""
    word: str = ""
    kept: str = ""
    page: int = 1

    @classmethod
    def read(cls, given: Mapping[str, str]) -> Self:
        """From an address; what it does not know is passed over."""
        names = {f.name for f in dataclasses.fields(cls)} - {"page"}
        texts = {n: given[n].strip() for n in names if n in given}
        page = given.get("page", "1")
        return cls(**texts, page=max(int(page), 1) if page.isdecimal() else 1)

    def link(self, **changes) -> str:
        """The address of this query with changes; a change of filter goes
        back to the first page."""
        asked = dataclasses.asdict(self) | {"page": 1} | changes
        given = {k: v for k, v in asked.items() if v not in ("", 1)}
        return f"{self.PATH}?{urllib.parse.urlencode(given, errors='replace')}"

    def page_of(self, found: list) -> dict:
        """What is on the page, of all that was found; as templates take it."""
        start = (self.page - 1) * PAGE
        return {
            "query": self,
            "found": len(found),
            "shown": found[start : start + PAGE],
            "last": -(-len(found) // PAGE),
        }

    def _is_kept(self, kept: bool) -> bool:
        return self.kept in ("", "yes" if kept else "no")

    def _says(self, texts: Iterable[str]) -> bool:
        if not self.word:
            return True
        word = re.compile(rf"(?<!\w){re.escape(self.word)}(?!\w)", re.I)
        return any(word.search(text) for text in texts)


@dataclasses.dataclass(frozen=True)
class GameQuery(Query):
    """Games; a word is one of a question.

    Attributes:
      outcome: one of `records.OUTCOMES`. reason: why it was aborted.
      image: number of an image, or part of its name.
    """

    PATH = "/games"

    outcome: str = ""
    reason: str = ""
    image: str = ""

    def matches(self, game: GameRecord) -> bool:
        """Whether the game is one of those asked for, whatever its page."""
        return (
            self.outcome in ("", game.outcome)
            and self.reason in ("", game.reason)
            and self._is_kept(game.kept)
            and self._shows(game)
            and self._says(turn.question for turn in game.turns)
        )

    def _shows(self, game: GameRecord) -> bool:
        if self.image.isdecimal():
            return int(self.image) in game.images
        return any(self.image in name for name in game.names)


@dataclasses.dataclass(frozen=True)
class CandidateQuery(Query):
    """Candidates that are no games; a word is one of any line, or why."""

    PATH = "/candidates"

    def matches(self, view: CandidateView) -> bool:
        """Whether it is one of those asked for, whatever its page."""
        said = (view.note, *(text for _, text, _ in view.lines))
        return self._is_kept(view.kept) and self._says(said)


def reasons(games: Iterable[GameRecord]) -> list[str]:
    """Why games were aborted, each reason once."""
    return sorted({game.reason for game in games if game.reason is not None})


def same_set(one: GameRecord, other: GameRecord) -> bool:
    """Whether two games show the same images with the same target."""
    return (
        set(one.images) == set(other.images)
        and one.images[one.target] == other.images[other.target]
    )
