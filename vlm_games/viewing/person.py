"""A game between a person and a checkpoint, turn by turn."""

import dataclasses
import secrets
from collections.abc import Sequence

import numpy as np

from vlm_games.games.protocol import Exchange
from vlm_games.games.seats import Opposite
from vlm_games.viewing.players import Players
from vlm_games.viewing.run_folder import Checkpoint

GUESSER, DESCRIBER = "guesser", "describer"
SEATS = (GUESSER, DESCRIBER)
LONGEST = 200  # characters of what a person says
GAMES_KEPT = 64


class MoveError(ValueError):
    """What the person did is no move; the message says what would be."""


@dataclasses.dataclass
class PersonGame:
    """A game under way or ended; lives in memory alone.

    Attributes:
      which: the model's checkpoint. seat: the person's, one of SEATS.
      images: numbers in the source, in the Guesser's order. target: position.
      opposite: the model.
      dialog: complete turns. beliefs: of the model after each, [T, N].
      question, summary: of the model's Guesser, waiting for an answer.
      guess: position named at the end. fault: what ended it otherwise.
    """

    which: Checkpoint
    seat: str
    images: tuple[int, ...]
    target: int
    opposite: Opposite
    dialog: list[Exchange] = dataclasses.field(default_factory=list)
    beliefs: Sequence[Sequence[float]] = ()
    question: str = ""
    summary: str = ""
    guess: int | None = None
    fault: str = ""
    name: str = dataclasses.field(default_factory=lambda: secrets.token_hex(8))

    @property
    def over(self) -> bool:
        """Whether nobody has a move left."""
        return self.guess is not None or bool(self.fault)

    @property
    def may_ask(self) -> bool:
        """Whether questions are left."""
        return len(self.dialog) < self.opposite.settings.turns


class Parlour:
    """The games of the people at this page; old ones are forgotten."""

    def __init__(self, players: Players):
        self.players = players
        self._games: dict[str, PersonGame] = {}

    def begin(
        self, which: Checkpoint, seat: str, images: Sequence[int], target: int
    ) -> PersonGame:
        """Seats a person; a model in the Guesser's seat asks at once."""
        seed = (secrets.randbelow(1 << 30),)
        opposite = self.players.opposite(which, images, seed)
        if seat == DESCRIBER and opposite.settings.questions:
            raise MoveError(
                "In this run questions come from a list "
                "(config.play.questions): its model does not ask. Take the "
                "Guesser's seat."
            )
        game = PersonGame(which, seat, tuple(images), target, opposite)
        if seat == DESCRIBER:
            self._model_moves(game)
        self._games[game.name] = game
        while len(self._games) > GAMES_KEPT:
            del self._games[next(iter(self._games))]
        return game

    def find(self, name: str) -> PersonGame:
        """Raises KeyError: there is no such game, or it is forgotten."""
        return self._games[name]

    def ask(self, game: PersonGame, question: str) -> None:
        """The person's question, and the model's answer to it."""
        question = self._words(question)
        if game.seat != GUESSER or game.over or not game.may_ask:
            raise MoveError("No question is left to ask: name the image.")
        with self.players.lock():
            said = game.opposite.answer(game.dialog, question, game.target)
        cut = said.ended or game.opposite.settings.cut
        if not (said.text and cut):
            game.fault = "the Describer did not come to an end"
            return
        exchange = Exchange(question, said.text, "", 0.0, said.log_prob)
        self._said(game, exchange)

    def answer(self, game: PersonGame, words: str) -> None:
        """The person's answer, and what the model does with it."""
        words = self._words(words)
        if game.seat != DESCRIBER or game.over:
            raise MoveError("Nothing was asked.")
        self._said(game, Exchange(game.question, words, game.summary, 0.0, 0.0))
        self._model_moves(game)

    def guess(self, game: PersonGame, place: int) -> None:
        """The person names an image, counted from 0."""
        if game.seat != GUESSER or game.over:
            raise MoveError("This game has ended.")
        if not 0 <= place < len(game.images):
            raise MoveError(f"Name an image from 1 to {len(game.images)}.")
        game.guess = place

    def _said(self, game: PersonGame, exchange: Exchange) -> None:
        game.dialog.append(exchange)
        found = self.players.beliefs(game.opposite, game.dialog)
        game.beliefs = found.tolist()

    def _model_moves(self, game: PersonGame) -> None:
        """The model asks or guesses."""
        listens = game.opposite.settings.guess == "likelihood"
        if listens and not game.may_ask:
            game.guess = int(np.argmax(game.beliefs[-1]))
            return
        with self.players.lock():
            move = game.opposite.ask(game.dialog)
        game.question, game.summary = move.question or "", move.summary
        game.guess, game.fault = move.guess, move.fault or ""

    def _words(self, text: str) -> str:
        """What a person said, fit for the model.

        Raises:
          MoveError: nothing, too much, or words that the model does not know.
        """
        text = self.players.spell(text)
        if not text or len(text) > LONGEST:
            raise MoveError(f"Say something, in at most {LONGEST} characters.")
        unknown = self.players.unknown_words(text)
        if unknown:
            raise MoveError(
                "This model does not know "
                + ", ".join(repr(word) for word in unknown[:5])
                + ". The list under the field has what was said before."
            )
        return text
