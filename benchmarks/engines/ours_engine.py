"""Ours: the `Table` that runs play at, told to take words as they come."""

import dataclasses
import pathlib
import time

import jax
import numpy as np
import work as works

from vlm_games.base_model import load_base
from vlm_games.games.play import Role, Table
from vlm_games.games.prompts import Move
from vlm_games.games.protocol import Exchange, GameSettings, GameSpec
from vlm_games.models.mesh import make_mesh
from vlm_games.sampling.engine import Engine


class CountingEngine(Engine):
    """Keeps what was read, on the device, to count it when all is over."""

    def __init__(self, config, mesh, images: int):
        super().__init__(config, mesh, images)
        self.lengths = []

    def admit(self, params, session, rows, ids, slots, image_tokens):
        """Adds up what the newcomers read."""
        self.lengths.append(ids[1])
        return super().admit(params, session, rows, ids, slots, image_tokens)

    def turn(self, params, session, keep, ids, *others, **named):
        """Adds up what is read before words are said."""
        self.lengths.append(ids[1])
        return super().turn(params, session, keep, ids, *others, **named)


class TokenTable(Table):
    """All words are a question or an answer; both are kept as token ids."""

    work: works.Work

    def _read_move(self, words, row, seat, must_guess):
        return Move(question=words.tokens[row].tolist())

    def _check_question(self, words, asking, row, move):
        return move

    def _after_answer(self, seat, move, log_prob, answers, row):
        said = answers.tokens[row].tolist()
        exchange = Exchange(move.question, said, "", log_prob, 0.0)
        seat.exchanges.append(exchange)
        before, after = self.work.heard
        seat.hears = (*before, *said, *after)
        return None


class Player:
    """See `load`."""

    def __init__(self, folder: pathlib.Path, work: works.Work):
        mesh = make_mesh()
        gpu = jax.default_backend() != "cpu"
        dtype = "bfloat16" if gpu else "float32"
        self.base = load_base(str(folder), dtype, 0, work.prompts, mesh)
        self.work = work
        self.engine = CountingEngine(
            self.base.model, mesh, work.games * work.images
        )
        self._tables = {}

    def play(self, pictures: np.ndarray, turns: int, counts: works.Counts):
        """See `worker`."""
        if turns not in self._tables:
            self._tables[turns] = self._table(turns)
        table = self._tables[turns]
        self.engine.lengths.clear()
        ends, device_get = [], jax.device_get

        def timed(x):
            found = device_get(x)
            ends.append(time.perf_counter() - start)
            return found

        specs = [
            GameSpec(g, tuple(range(first, first + self.work.images)), target)
            for g, target in enumerate(self.work.targets)
            for first in [g * self.work.images]
        ]
        jax.device_get = timed
        start = time.perf_counter()
        # What is read without `device_get` raises, but on CPUs, where a test of
        # tests/test_play.py looks for it.
        with jax.transfer_guard_device_to_host("disallow"):
            tokens = self.engine.encode(self.base.params, pictures)
            role = Role(self.base.params, tokens)
            games = list(table.play(role, role, specs, (0,)))
        jax.device_get = device_get
        counts.syncs = len(ends)
        counts.computed = sum(int(np.sum(x)) for x in self.engine.lengths)
        games.sort(key=lambda game: game.spec.game)
        said = [[[x.question, x.answer] for x in g.exchanges] for g in games]
        # As many waits in each turn: a turn ends with its last.
        waits = len(ends) // turns
        return works.Played(said, ends[waits - 1 :: waits])

    def _table(self, turns: int) -> TokenTable:
        settings = GameSettings(
            turns=turns,
            guess="likelihood",  # so that nobody guesses in words
            guesser_temperature=0.0,
            describer_temperature=0.0,
            guesser_tokens=self.work.tokens,
            answer_tokens=self.work.tokens,
            cut=True,
            slots=self.work.games,
        )
        table = TokenTable(
            self.engine,
            dataclasses.replace(self.base.tokenizer, eos_id=self._no_end()),
            self.base.prompts,
            settings,
            self.work.images,
        )
        table.work = self.work
        return table

    def _no_end(self) -> int:
        """A token that is never said, in place of the one that ends words."""
        return self.base.tokenizer.image_id

    def compiles(self) -> int:
        """Programs compiled so far."""
        return self.engine.compilations()


def load(folder: pathlib.Path, work: works.Work, how: str) -> Player:
    """`how` is not used."""
    del how
    return Player(folder, work)
