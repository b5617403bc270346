"""Batched play: two sessions, one per role, and a host loop of turns.

    slot   Guesser's cache                      Describer's cache
    0    [ opening, 4 images | turns so far ]   [ target | question now ]
    1    [ opening, 4 images | turns so far ]   [ target | question now ]

Images were encoded before; a turn reads only its new words. A slot whose
game has ended takes the next game between turns.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np

from vlm_games.data.examples import Example, read
from vlm_games.data.packing import encode
from vlm_games.data.tokenizer import Tokenizer
from vlm_games.games.prompts import Move, Prompts, parse_move
from vlm_games.games.protocol import (
    Exchange,
    GameSettings,
    GameSpec,
    PlayedGame,
)
from vlm_games.sampling.engine import Engine, Sampling, bucket, pad, round_up

KEEP_ALL = 1 << 30
# Turn ids of the two roles' draws: 2 t and 2 t + 1 in turn t.
GUESSER, DESCRIBER = 0, 1
# Kinds of row, for the words that they may not say.
MAY_GUESS, MUST_ASK = 0, 1
LENGTHS = 32  # rows of a cache are a multiple of it


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
      hears: token ids that the Guesser reads next.
    """

    spec: GameSpec
    exchanges: list[Exchange]
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
        vocabulary = engine.config.vocab_size
        # A model may have more embeddings than its tokenizer has words.
        forbidden = np.arange(vocabulary) >= len(tokenizer.hf)
        special = set(tokenizer.hf.all_special_ids) | {tokenizer.image_id}
        forbidden[list(special - {tokenizer.eos_id})] = True
        # Two kinds of row: those that may guess, and those that must ask.
        self._forbidden = np.stack([forbidden, forbidden])
        self._listens = settings.guess == "likelihood"
        guess = tokenizer.encode(prompts.guess)
        if len(guess) == 1:
            self._forbidden[MUST_ASK, guess] = True
        self._stop = np.arange(vocabulary) == tokenizer.eos_id
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
            raise ValueError("Scripted and played games do not mix.")
        rows = self.settings.slots
        sampling = Sampling(self._forbidden, seed)
        sessions = [self.engine.init(rows, size) for size in self._capacity]
        seats: list[Seat | None] = [None] * rows
        waiting = list(reversed(specs))
        while waiting or any(seats):
            self._admit(guesser, describer, sessions, seats, waiting)
            moves = self._hear_guesser(guesser, sessions, seats, sampling)
            for row, (move, log_prob) in moves.items():
                ended = self._after_move(seats[row], move, log_prob)
                if ended is not None:
                    yield ended
                    seats[row] = None
            asked = {
                row: (move, log_prob)
                for row, (move, log_prob) in moves.items()
                if seats[row] is not None and seats[row].spec.script is None
            }
            if asked:
                yield from self._ask_describer(
                    describer, sessions, seats, asked, sampling
                )
            for row, seat in enumerate(seats):
                if self._listens and seat is not None and self._asked_all(seat):
                    exchanges = tuple(seat.exchanges)
                    yield PlayedGame(seat.spec, exchanges, "", None, None)
                    seats[row] = None

    def _admit(self, guesser, describer, sessions, seats, waiting) -> None:
        """Fills free slots with waiting games, in both sessions."""
        shards = self.engine.shards
        per_shard = len(seats) // shards
        free = [r for r, seat in enumerate(seats) if seat is None]
        newcomers: list[list[int]] = [[] for _ in range(shards)]
        for row in free:
            if not waiting:
                break
            seats[row] = Seat(waiting.pop(), [])
            newcomers[row // per_shard].append(row)
        most = max(len(rows) for rows in newcomers)
        if not most:
            return
        few = max(per_shard // 4, 1)
        places = few if most <= few else per_shard
        rows, opened, seen = [], [], []
        for shard in newcomers:
            local = [row % per_shard for row in shard]
            rows += local + [per_shard] * (places - len(local))
            specs = [seats[row].spec for row in shard]
            empty = [None] * (places - len(local))
            opened += [self._prompt(self._opening, s, True) for s in specs]
            opened += empty
            seen += [self._prompt(self._trunk, s, False) for s in specs]
            seen += empty
        rows = np.array(rows, np.int32)
        for i, (role, prompts, length) in enumerate(
            [
                (guesser, opened, self._opening_length),
                (describer, seen, self._trunk_length),
            ]
        ):
            ids, slots = _pad_prompts(prompts, length)
            sessions[i] = self.engine.admit(
                role.params, sessions[i], rows, ids, slots, role.image_tokens
            )

    def _prompt(self, text: str, spec: GameSpec, all_images: bool):
        """(ids, slots into the image bank) of an opening."""
        images = spec.images if all_images else (spec.images[spec.target],)
        n = self.engine.config.tokens_per_image
        found = encode(Example(images, (read(text),)), self.tokenizer, n)
        slots = found.image_slots
        bank = np.array(images, np.int32)[slots // n] * n + slots % n
        return found.tokens, np.where(slots >= 0, bank, -1)

    def _hear_guesser(self, guesser, sessions, seats, sampling):
        """Lets the Guesser speak in every seat: {row: (Move, log p)}."""
        scripts = any(
            s is not None and s.spec.script is not None for s in seats
        )
        ids = [() if s is None else s.hears for s in seats]
        last = [s is not None and self._asked_all(s) for s in seats]
        may_guess = [
            asked or not (self._listens or (s is not None and s.spec.asks_all))
            for s, asked in zip(seats, last, strict=True)
        ]
        moves = {}
        # A summary alone is wanted of a scripted seat before its last turn.
        for final in (False, True) if scripts else (True,):
            active = [
                s is not None and (not scripts or last[r] == final)
                for r, s in enumerate(seats)
            ]
            if not any(active):
                continue
            sessions[0], words = self.engine.turn(
                guesser.params,
                sessions[0],
                np.full(len(seats), KEEP_ALL),
                pad([x if a else () for x, a in zip(ids, active, strict=True)]),
                self._row_ids(seats),
                self._turn_ids(seats, GUESSER),
                active,
                self.settings.guesser_temperature,
                self._stop if final else self._stop_summary,
                sampling,
                self.settings.guesser_tokens,
                kinds=[MAY_GUESS if free else MUST_ASK for free in may_guess],
            )
            words = jax.device_get(words)
            for row in np.flatnonzero(active):
                move = self._read_move(words, row, seats[row], last[row])
                moves[int(row)] = (move, float(words.log_prob[row]))
        return moves

    def _read_move(self, words, row, seat: Seat, must_guess: bool) -> Move:
        """The move in a row's words."""
        text = self.tokenizer.decode(words.tokens[row, : words.count[row]])
        if seat.spec.script is not None and not must_guess:
            summary = text.removesuffix(self.prompts.summary_end).strip()
            question = seat.spec.script[len(seat.exchanges)][0]
            return Move(summary, question)
        if not words.stopped[row]:
            return Move(text, fault="the Guesser did not come to an end")
        return parse_move(self.prompts, text, len(seat.spec.images), must_guess)

    def _after_move(self, seat: Seat, move: Move, log_prob: float):
        """The game as played if the move ends it; else None."""
        if move.fault or move.guess is not None:
            return PlayedGame(
                seat.spec,
                tuple(seat.exchanges),
                move.summary,
                move.guess,
                move.fault,
            )
        if seat.spec.script is not None:
            question, answer = seat.spec.script[len(seat.exchanges)]
            self._record(seat, Exchange(question, answer, move.summary, 0, 0))
            said = f"{self.prompts.ask} {question} {self.prompts.end}"
            seat.hears = self.tokenizer.encode(said) + seat.hears
        return None

    def _ask_describer(self, describer, sessions, seats, asked, sampling):
        """Has the questions answered; yields games that end in a fault."""
        keep = KEEP_ALL if self.settings.remember else self._trunk_length
        ids = [() for _ in seats]
        for row, (move, _) in asked.items():
            text = self.prompts.question_only(move.question)
            ids[row] = self.tokenizer.encode(text)
        active = [row in asked for row in range(len(seats))]
        sessions[1], words = self.engine.turn(
            describer.params,
            sessions[1],
            np.full(len(seats), keep),
            pad(ids, least=16),
            self._row_ids(seats),
            self._turn_ids(seats, DESCRIBER),
            active,
            self.settings.describer_temperature,
            self._stop,
            sampling,
            self.settings.answer_tokens,
        )
        words = jax.device_get(words)
        for row, (move, log_prob) in asked.items():
            tokens = words.tokens[row, : words.count[row]]
            answer = self.tokenizer.decode(tokens)
            fault = None if answer else "empty answer"
            if not words.stopped[row]:
                fault = "the Describer did not come to an end"
            if fault:
                seat = seats[row]
                yield PlayedGame(
                    seat.spec, tuple(seat.exchanges), move.summary, None, fault
                )
                seats[row] = None
                continue
            self._record(
                seats[row],
                Exchange(
                    move.question,
                    answer,
                    move.summary,
                    log_prob,
                    float(words.log_prob[row]),
                ),
            )

    def _record(self, seat: Seat, exchange: Exchange) -> None:
        """Enters a complete turn; the Guesser will hear the answer."""
        seat.exchanges.append(exchange)
        text = self.prompts.hear(exchange.answer, self._asked_all(seat))
        seat.hears = self.tokenizer.encode(text)

    def _asked_all(self, seat: Seat) -> bool:
        script = seat.spec.script
        turns = self.settings.turns if script is None else len(script)
        return len(seat.exchanges) >= turns

    def _row_ids(self, seats) -> list[int]:
        return [0 if s is None else s.spec.game for s in seats]

    def _turn_ids(self, seats, role: int) -> list[int]:
        return [0 if s is None else 2 * len(s.exchanges) + role for s in seats]


def opening(prompts: Prompts, settings: GameSettings, images: int) -> str:
    """What the Guesser reads before its first words."""
    shown = prompts.open_game(images, settings.style)
    return prompts.gap.join([shown, prompts.next_cue(False)])


def capacities(
    prompts: Prompts,
    settings: GameSettings,
    images: int,
    length: Callable[[str, int], int],
) -> tuple[int, int]:
    """Tokens that a row of the Guesser's and of the Describer's cache holds.

    Args:
      images: in a game. length: tokens of a text with so many images in it.
    """
    hear = max(length(prompts.hear("", last), 0) for last in (False, True))
    hear += settings.answer_tokens
    turn = settings.guesser_tokens + hear + 4
    start = length(opening(prompts, settings, images), images)
    asked = bucket(settings.guesser_tokens + 8) + hear
    questions = settings.turns if settings.remember else 1
    return (
        round_up(start + (settings.turns + 1) * turn, LENGTHS),
        round_up(
            length(prompts.describer_trunk(), 1) + questions * asked, LENGTHS
        ),
    )


def _pad_prompts(prompts, length: int):
    """Openings, or None for empty places, to padded ids and slots."""
    ids, lengths = pad([() if p is None else p[0] for p in prompts], length)
    slots = np.full(ids.shape, -1, np.int32)
    for row, prompt in zip(slots, prompts, strict=True):
        if prompt is not None:
            row[: len(prompt[1])] = prompt[1]
    return (ids, lengths), slots
