"""One seat for a person: what the model says in the other one.

Nothing is kept between turns but the words: the model reads the whole dialog
again each time, which a person does not notice.
"""

import dataclasses
from collections.abc import Sequence

from vlm_games.data.examples import Example, read
from vlm_games.data.tokenizer import Tokenizer
from vlm_games.games.answer import Answer, go_on
from vlm_games.games.layout import (
    MAY_GUESS,
    MUST_ASK,
    capacities,
    forbidden_words,
    opening,
)
from vlm_games.games.play import DESCRIBER, GUESSER, Role
from vlm_games.games.prompts import Move, Prompts, parse_move
from vlm_games.games.protocol import Exchange, GameSettings
from vlm_games.sampling.engine import Engine, Sampling
from vlm_games.sampling.session import Truncation


@dataclasses.dataclass(frozen=True)
class Opposite:
    """The model that plays against a person.

    Attributes:
      engine, tokenizer, prompts, settings: as of `games.play.Table`.
      role: its params, and the images of the game in the Guesser's order.
      images: in the game, N.
      seed: small numbers that, with the turn, fix what it draws.
    """

    engine: Engine
    tokenizer: Tokenizer
    prompts: Prompts
    settings: GameSettings
    role: Role
    images: int
    seed: tuple[int, ...]

    def ask(self, dialog: Sequence[Exchange]) -> Move:
        """The Guesser's next move; it must guess once it has asked all."""
        prompts, turn = self.prompts, len(dialog)
        must_guess = turn >= self.settings.turns
        pieces = [read(opening(prompts, self.settings, self.images))]
        for number, said in enumerate(dialog, start=1):
            move = f"{prompts.ask} {said.question}"
            pieces.append(read(prompts.speak(said.summary, move)))
            last = number >= self.settings.turns
            pieces.append(read(prompts.hear(said.answer, last)))
        listens = self.settings.guess == "likelihood"
        words = self._say(
            Example(tuple(range(self.images)), tuple(pieces)),
            GUESSER,
            turn,
            MUST_ASK if listens and not must_guess else MAY_GUESS,
            self.settings.guesser_tokens,
            self.settings.guesser_temperature,
        )
        if not (words.ended or self.settings.cut):
            fault = "the Guesser did not come to an end"
            return Move(words.text, fault=fault)
        return parse_move(prompts, words.text, self.images, must_guess)

    def answer(
        self, dialog: Sequence[Exchange], question: str, target: int
    ) -> Answer:
        """The Describer's answer about image `target` of the game."""
        prompts = self.prompts
        pieces = [read(prompts.describer_trunk())]
        for said in dialog if self.settings.remember else ():
            pieces.append(read(prompts.question_only(said.question)))
            pieces.append(read(prompts.reply(said.answer)))
            pieces.append(read(prompts.end))
        pieces.append(read(prompts.question_only(question)))
        return self._say(
            Example((target,), tuple(pieces)),
            DESCRIBER,
            len(dialog),
            MAY_GUESS,
            self.settings.answer_tokens,
            self.settings.describer_temperature,
        )

    def _say(
        self,
        example: Example,
        role: int,
        turn: int,
        kind: int,
        limit: int,
        temperature: float,
    ) -> Answer:
        """What a role says; `kind` of row, for the words it may not say."""
        c, vocabulary = self.settings, self.engine.config.vocab_size
        forbidden = forbidden_words(self.tokenizer, self.prompts, vocabulary)
        sampling = Sampling(
            forbidden[kind], self.seed, Truncation(c.top_k, c.top_p)
        )
        rooms = capacities(self.prompts, c, self.images, self._length)
        (words,) = go_on(
            self.engine,
            self.tokenizer,
            self.role,
            [example],
            [(0, 2 * turn + role)],
            sampling,
            limit,
            temperature,
            rows=1,
            room=rooms[role],
        )
        return words

    def _length(self, text: str, images: int) -> int:
        expand = self.engine.config.tokens_per_image - 1
        return len(self.tokenizer.encode(text)) + images * expand
