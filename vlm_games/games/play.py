"""Batched play: two sessions, one per role, and a host loop of turns.

    slot   Guesser's cache                      Describer's cache
    0    [ opening, 4 images | turns so far ]   [ target | question now ]
    1    [ opening, 4 images | turns so far ]   [ target | question now ]

Images were encoded before; a turn reads only its new words. A slot whose
game has ended takes the next game between turns.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import jax
import numpy as np

from vlm_games.data.examples import Example, read
from vlm_games.data.packing import encode
from vlm_games.data.tokenizer import Tokenizer
from vlm_games.games.layout import (
    MAY_GUESS,
    MUST_ASK,
    bank_slots,
    capacities,
    forbidden_words,
    handover,
    heard,
    opening,
    pad_prompts,
)
from vlm_games.games.prompts import Move, Prompts, parse_move
from vlm_games.games.protocol import (
    Exchange,
    GameSettings,
    GameSpec,
    PlayedGame,
)
from vlm_games.sampling.engine import Engine, Sampling, first_room, pad
from vlm_games.sampling.session import Truncation

KEEP_ALL = 1 << 30
# Turn ids of the two roles' draws: 2 t and 2 t + 1 in turn t.
GUESSER, DESCRIBER = 0, 1


@dataclasses.dataclass(frozen=True)
class Role:
    """Who plays: params, and the images as this role sees them.

    Attributes:
      params: of the model.
      image_tokens: [images * T, D], from Engine.encode, on every device.
    """

    params: object
    image_tokens: jax.Array


@dataclasses.dataclass
class Seat:
    """A game under way in a slot; lives on the host.

    Attributes:
      spec: the game. exchanges: complete turns.
      held: tokens that the Guesser has read and said.
      hears: token ids that it reads next.
    """

    spec: GameSpec
    exchanges: list[Exchange]
    held: int
    hears: tuple[int, ...] = ()


class Table:
    """Plays games of one shape in a fixed number of slots."""

    def __init__(
        self,
        engine: Engine,
        tokenizer: Tokenizer,
        prompts: Prompts,
        settings: GameSettings,
        images: int,
    ):
        """`images` is the number in a game, N."""
        self.engine, self.tokenizer = engine, tokenizer
        self.prompts, self.settings = prompts, settings
        self._opening = opening(prompts, settings, images)
        self._trunk = prompts.describer_trunk()
        self._opening_length = self._length(self._opening, images)
        self._trunk_length = self._length(self._trunk, 1)
        self._capacity = capacities(prompts, settings, images, self._length)
        self._heard = heard(prompts, settings, self._length)
        vocabulary = engine.config.vocab_size
        self._forbidden = forbidden_words(tokenizer, prompts, vocabulary)
        self._listens = settings.guess == "likelihood"
        self._stop = np.arange(vocabulary) == tokenizer.eos_id
        self._handover = handover(tokenizer, prompts, settings.cut)
        end = tokenizer.encode(prompts.summary_end)
        self._stop_summary = self._stop | np.isin(np.arange(vocabulary), end)

    def _length(self, text: str, images: int) -> int:
        expand = self.engine.config.tokens_per_image - 1
        return len(self.tokenizer.encode(text)) + images * expand

    def play(
        self,
        guesser: Role,
        describer: Role,
        specs: Sequence[GameSpec],
        seed: tuple[int, ...],
    ) -> Iterator[PlayedGame]:
        """Plays every spec; yields games as they end.

        Args:
          guesser, describer: who sits in each seat; the same params for
            self-play.
          specs: games; all with a script, or none.
          seed: small non-negative numbers, such as (seed, iteration): with a
            game's number they fix all of its draws.
        """
        scripted = {spec.script is not None for spec in specs}
        if len(scripted) > 1:
            raise ValueError(
                "Scripted and played games do not mix: play those whose spec "
                "has a script in a call of their own."
            )
        rows = self.settings.slots
        truncation = Truncation(self.settings.top_k, self.settings.top_p)
        sampling = Sampling(self._forbidden, seed, truncation)
        guesser, describer = self._lay_out(guesser, describer)
        most, describer_room = self._capacity
        guesser_room = first_room(self._opening_length, most)
        sessions = [
            self.engine.init(rows, guesser_room),
            self.engine.init(rows, describer_room),
        ]
        seats: list[Seat | None] = [None] * rows
        waiting = list(reversed(specs))
        while waiting or any(seats):
            self._admit(guesser, describer, sessions, seats, waiting)
            if True in scripted:
                yield from self._reading_out(guesser, sessions, seats, sampling)
            else:
                yield from self._exchange(
                    guesser, describer, sessions, seats, sampling
                )
            for row, seat in enumerate(seats):
                if self._listens and seat is not None and self._asked_all(seat):
                    exchanges = tuple(seat.exchanges)
                    yield PlayedGame(seat.spec, exchanges, "", None, None)
                    seats[row] = None

    def _lay_out(self, *roles: Role) -> list[Role]:
        """The roles with params laid out for play, equal ones once."""
        laid_out = {
            id(role.params): self.engine.lay_out(
                role.params, self.settings.slots
            )
            for role in roles
        }
        return [
            dataclasses.replace(role, params=laid_out[id(role.params)])
            for role in roles
        ]

    def _admit(self, guesser, describer, sessions, seats, waiting) -> None:
        """Fills free slots with waiting games, in both sessions."""
        shards = self.engine.shards
        per_shard = len(seats) // shards
        free = [r for r, seat in enumerate(seats) if seat is None]
        newcomers: list[list[int]] = [[] for _ in range(shards)]
        for row in free:
            if not waiting:
                break
            seats[row] = Seat(waiting.pop(), [], self._opening_length)
            newcomers[row // per_shard].append(row)
        most = max(len(rows) for rows in newcomers)
        if not most:
            return
        few = max(per_shard // 4, 1)
        places = few if most <= few else per_shard
        places_of: list[int] = []
        opened: list = []
        seen: list = []
        for shard in newcomers:
            local = [row % per_shard for row in shard]
            places_of += local + [per_shard] * (places - len(local))
            specs = [seats[row].spec for row in shard]
            empty = [None] * (places - len(local))
            opened += [self._prompt(self._opening, s, True) for s in specs]
            opened += empty
            seen += [self._prompt(self._trunk, s, False) for s in specs]
            seen += empty
        rows = np.array(places_of, np.int32)
        for i, (role, prompts, length) in enumerate(
            [
                (guesser, opened, self._opening_length),
                (describer, seen, self._trunk_length),
            ]
        ):
            ids, slots = pad_prompts(prompts, length)
            sessions[i] = self.engine.admit(
                role.params, sessions[i], rows, ids, slots, role.image_tokens
            )

    def _prompt(self, text: str, spec: GameSpec, all_images: bool):
        """(ids, slots into the image bank) of an opening."""
        images = spec.images if all_images else (spec.images[spec.target],)
        n = self.engine.config.tokens_per_image
        found = encode(Example(images, (read(text),)), self.tokenizer, n)
        return found.tokens, bank_slots(found, n)

    def _exchange(self, guesser, describer, sessions, seats, sampling):
        """A turn of both roles in every seat; yields games that end.

        The Describer speaks before the host has read the question.
        """
        active = np.array([s is not None for s in seats])
        last = np.array([s is not None and self._asked_all(s) for s in seats])
        words = self._guesser_speaks(
            guesser, sessions, seats, sampling, active, self._stop
        )
        may_ask, asking, answers = active & ~last, None, None
        if may_ask.any():
            asking = self.engine.hand_over(words, may_ask, self._handover)
            keep = KEEP_ALL if self.settings.remember else self._trunk_length
            sessions[1], answers = self.engine.turn(
                describer.params,
                sessions[1],
                np.full(len(seats), keep),
                asking.ids,
                self._row_ids(seats),
                self._turn_ids(seats, DESCRIBER),
                asking.active,
                self.settings.describer_temperature,
                self._stop,
                sampling,
                self.settings.answer_tokens,
            )
        # The one time that a turn waits for the devices.
        words, asking, answers = jax.device_get((words, asking, answers))
        for row in np.flatnonzero(active):
            seat, log_prob = seats[row], float(words.log_prob[row])
            seat.held += int(words.count[row])
            move = self._read_move(words, row, seat, last[row])
            if move.question is not None and move.fault is None:
                move = self._check_question(words, asking, row, move)
            ended = self._after_move(seat, move)
            if ended is None:
                ended = self._after_answer(seat, move, log_prob, answers, row)
            if ended is not None:
                yield ended
                seats[row] = None

    def _reading_out(self, guesser, sessions, seats, sampling):
        """A turn of games with a script; yields games that end."""
        last = np.array([s is not None and self._asked_all(s) for s in seats])
        taken = np.array([s is not None for s in seats])
        # Before its last turn only a summary is wanted of the Guesser.
        for active, stop in (
            (taken & ~last, self._stop_summary),
            (last, self._stop),
        ):
            if not active.any():
                continue
            words = jax.device_get(
                self._guesser_speaks(
                    guesser, sessions, seats, sampling, active, stop
                )
            )
            for row in np.flatnonzero(active):
                seats[row].held += int(words.count[row])
                move = self._read_move(words, row, seats[row], last[row])
                ended = self._after_move(seats[row], move)
                if ended is not None:
                    yield ended
                    seats[row] = None
                else:
                    self._read_out(seats[row], move)

    def _guesser_speaks(self, guesser, sessions, seats, sampling, active, stop):
        """The Guesser's words in the active seats, still on the devices."""
        ids = [s.hears if a else () for s, a in zip(seats, active, strict=True)]
        kinds = [
            MAY_GUESS if s is None or self._may_guess(s) else MUST_ASK
            for s in seats
        ]
        for seat, words in zip(seats, ids, strict=True):
            if seat is not None:
                seat.held += len(words)
        need = max(s.held for s in seats if s) + self.settings.guesser_tokens
        sessions[0], words = self.engine.turn(
            guesser.params,
            self.engine.grow(sessions[0], need, self._capacity[0]),
            np.full(len(seats), KEEP_ALL),
            pad(ids, usual=self._heard),
            self._row_ids(seats),
            self._turn_ids(seats, GUESSER),
            active,
            self.settings.guesser_temperature,
            stop,
            sampling,
            self.settings.guesser_tokens,
            kinds,
        )
        return words

    def _may_guess(self, seat: Seat) -> bool:
        free = not self._listens and not seat.spec.asks_all
        return free or self._asked_all(seat)

    def _read_move(self, words, row, seat: Seat, must_guess: bool) -> Move:
        """The move in a row's words."""
        text = self.tokenizer.decode(words.tokens[row, : words.count[row]])
        if seat.spec.script is not None and not must_guess:
            summary = text.removesuffix(self.prompts.summary_end).strip()
            question = seat.spec.script[len(seat.exchanges)][0]
            return Move(summary, question)
        if not (words.stopped[row] or self.settings.cut):
            return Move(text, fault="the Guesser did not come to an end")
        return parse_move(self.prompts, text, len(seat.spec.images), must_guess)

    def _check_question(self, words, asking, row, move: Move) -> Move:
        """A fault unless the Describer was asked what the Guesser's text asks.

        Tokens and text could only differ where the word that begins a question
        is said twice, or in unusual tokens.
        """
        first, count = asking.first[row], asking.count[row]
        asked = self.tokenizer.decode(words.tokens[row, first : first + count])
        if asked == move.question:
            return move
        fault = "where the question begins is not clear"
        return dataclasses.replace(move, fault=fault)

    def _after_move(self, seat: Seat, move: Move) -> PlayedGame | None:
        """The game as played if the move ends it; else None."""
        if not move.fault and move.guess is None:
            return None
        return PlayedGame(
            seat.spec,
            tuple(seat.exchanges),
            move.summary,
            move.guess,
            move.fault,
        )

    def _after_answer(self, seat, move, log_prob, answers, row):
        """The game as played if the answer ends it; else None."""
        tokens = answers.tokens[row, : answers.count[row]]
        answer = self.tokenizer.decode(tokens)
        fault = None if answer else "empty answer"
        if not (answers.stopped[row] or self.settings.cut):
            fault = "the Describer did not come to an end"
        if fault:
            return PlayedGame(
                seat.spec, tuple(seat.exchanges), move.summary, None, fault
            )
        answer_log_prob = float(answers.log_prob[row])
        seat.exchanges.append(
            Exchange(
                move.question, answer, move.summary, log_prob, answer_log_prob
            )
        )
        seat.hears = self._hears(seat, answer)
        return None

    def _read_out(self, seat: Seat, move: Move) -> None:
        """Enters the script's next question and answer."""
        script = seat.spec.script or ()
        question, answer = script[len(seat.exchanges)]
        seat.exchanges.append(Exchange(question, answer, move.summary, 0, 0))
        said = f"{self.prompts.ask} {question} {self.prompts.end}"
        seat.hears = self.tokenizer.encode(said) + self._hears(seat, answer)

    def _hears(self, seat: Seat, answer: str) -> tuple[int, ...]:
        """What the Guesser reads after an answer, which is in `exchanges`."""
        text = self.prompts.hear(answer, self._asked_all(seat))
        return self.tokenizer.encode(text)

    def _asked_all(self, seat: Seat) -> bool:
        script = seat.spec.script
        turns = self.settings.turns if script is None else len(script)
        return len(seat.exchanges) >= turns

    def _row_ids(self, seats) -> list[int]:
        return [0 if s is None else s.spec.game for s in seats]

    def _turn_ids(self, seats, role: int) -> list[int]:
        return [0 if s is None else 2 * len(s.exchanges) + role for s in seats]
