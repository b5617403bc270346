"""VLM Dialog Games (arXiv 2502.02740): play, keep the telling games, learn.

    image sets -> played games -> evidence -> verdicts -> examples

The default listens by likelihood under independent views, and learns from
single answers that point to the target (`games.listener.credits`).
"""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence

import jax
import numpy as np

from vlm_games.data.images import ImageSource
from vlm_games.data.records import OUTCOMES, GameRecord
from vlm_games.games import filters, listener
from vlm_games.games.image_sets import ImageSet, PackedSets
from vlm_games.games.openly import Leading, ask_openly
from vlm_games.games.play import Role
from vlm_games.games.protocol import GameSpec, PlayedGame
from vlm_games.games.questionnaire import play_list
from vlm_games.methods import choose, copies, corrupt, estimates
from vlm_games.methods.estimates import Estimate, Sizes
from vlm_games.methods.game_records import game_record
from vlm_games.methods.method import (
    REPLAY_ONLY,
    Made,
    Selection,
    Stage,
    Surroundings,
    Workbench,
    unheard,
)
from vlm_games.methods.retell import Pair, Reteller
from vlm_games.methods.views import PLAIN, encode_views, views
from vlm_games.report.gallery import GameView


@dataclasses.dataclass(frozen=True)
class Prepared:
    """The images of an iteration's games as roles and judges see them.

    Attributes:
      describer, guesser: image tokens [n * T, D] of the two roles, and padding.
      judges: of the independent views; empty if no filter asks for them.
      images: what `sets` count: the unlabelled images, and corrupted copies.
      sets: of all games.
      numbers: int [n], sorted, of the images whose tokens these are.
    """

    describer: jax.Array
    guesser: jax.Array
    judges: tuple[jax.Array, ...]
    images: ImageSource
    sets: Sequence[ImageSet]
    numbers: np.ndarray


class DialogGames:
    """The method; see `methods.method.Method`."""

    record = GameRecord
    unit = "game"
    arms: tuple[str, ...] = choose.ARMS
    standard = "unfiltered"
    idle: tuple[str, ...] = (REPLAY_ONLY,)

    def __init__(self, bench: Workbench):
        self.bench = bench
        self.config = c = bench.config.game
        self.reteller = Reteller(bench) if c.consistent else None
        if c.corrupted:
            side = bench.model.vision.image_size
            corrupt.check_low_side(bench.config.stic.low_side, side)

    @staticmethod
    def estimate(sizes: Sizes) -> Estimate:
        return estimates.dialog_games(sizes)

    @property
    def count(self) -> int:
        return self.config.games

    def shards(self) -> int:
        return -(-self.count // self.config.shard)

    def warm_up(self, arm: str, iteration: int) -> tuple[Stage, ...]:
        return ()

    def prepare(self, params, iteration: int) -> Prepared:
        """Draws all games; encodes each image of theirs once per view.

        Where there are not more images than the games have room for, all are
        encoded.
        """
        c, bench = self.config, self.bench
        sets, images = copies.put_copies(
            bench.draw_sets(iteration, 0, c.games), bench, iteration
        )
        room = min(len(images), c.games * c.images)
        numbers = np.arange(len(images))
        if room < len(images):
            numbers = np.unique([i for found in sets for i in found.images])
        tokens = encode_views(bench, params, images, numbers, iteration, room)
        plain = tokens[PLAIN]
        describer, *judges = (tokens.get(name, plain) for name in views(c))
        return Prepared(
            describer,
            plain,
            tuple(judges),
            images,
            PackedSets(sets),
            numbers,
        )

    def candidates(
        self,
        params,
        prepared: Prepared,
        iteration: int,
        shard: int,
        made: Made = unheard,
    ) -> list[GameRecord]:
        first = shard * self.config.shard
        sets = prepared.sets[first : first + self.config.shard]
        specs = [
            GameSpec(
                g,
                # Places among the images that were encoded.
                tuple(np.searchsorted(prepared.numbers, found.images).tolist()),
                found.target,
                asks_all=choose.asks_all(g, self.config.asks_all),
            )
            for g, found in enumerate(sets, start=first)
        ]
        seed = (self.bench.config.seed, iteration)
        games = []
        for game in self.play_games(params, prepared, specs, seed):
            games.append(game)
            made(len(games))
        games.sort(key=lambda g: g.spec.game)
        evidence = self._gather(params, prepared, games, seed)
        games = [e.game for e, _ in evidence]
        retold = self._retell(params, prepared, games, seed)
        opened = self._put_openly(params, prepared, games)
        return [
            game_record(
                self.bench,
                prepared.images,
                prepared.numbers,
                iteration,
                found,
                judged,
                again,
                put,
            )
            for (found, judged), again, put in zip(
                evidence, retold, opened, strict=True
            )
        ]

    def play_games(
        self,
        params,
        prepared: Prepared,
        specs: Sequence[GameSpec],
        seed: tuple[int, int],
    ) -> Iterable[PlayedGame]:
        """The games as played, each as soon as it has ended.

        A game with rules of its own is a subclass that plays otherwise here
        (docs/howto/new-game.md); all that comes after is the same.

        Args:
          specs: what is to be played. seed: (seed, iteration), of all draws.
        """
        table = self.bench.table
        guesser = Role(params, prepared.guesser)
        describer = Role(params, prepared.describer)
        if table.settings.questions:
            return play_list(
                table.engine,
                table.tokenizer,
                table.prompts,
                table.settings,
                describer,
                specs,
                seed,
            )
        return table.play(guesser, describer, specs, seed)

    def _gather(self, params, prepared, games, seed):
        """Per game (Evidence, log-probabilities that give credit)."""
        bench = self.bench

        def listen(image_tokens):
            return listener.listen(
                bench.scorer,
                bench.prompts,
                Role(params, image_tokens),
                games,
            )

        shared = listen(prepared.guesser)
        if bench.table.settings.guess == "likelihood":
            games = [
                listener.decide(game, found)
                for game, found in zip(games, shared, strict=True)
            ]
        views = [listen(tokens) for tokens in prepared.judges]
        judged = [
            np.logaddexp.reduce(found, axis=0) - np.log(len(found))
            for found in zip(*views, strict=True)
        ] or shared
        again, reshuffled = (
            self._ask_again(params, prepared, games, seed, shuffle)
            for shuffle in (False, True)
        )
        return [
            (
                filters.Evidence(
                    game,
                    shared[i],
                    judged[i] if prepared.judges else None,
                    again[i] if self.config.repeats else None,
                    reshuffled[i] if self.config.reshuffles else None,
                ),
                judged[i],
            )
            for i, game in enumerate(games)
        ]

    def _ask_again(self, params, prepared, games, seed, shuffle: bool):
        """Outcomes of the Guesser asked again, per game."""
        count = self.config.reshuffles if shuffle else self.config.repeats
        outcomes: list[list[bool]] = [[] for _ in games]
        for k in range(count):
            specs = [
                choose.script(game, (*seed, k) if shuffle else None)
                for game in games
                if game.success
            ]
            role = Role(params, prepared.guesser)
            # The draws differ from those of the game and of other askings.
            salt = (*seed, 1 + k + 100 * shuffle)
            where = {g.spec.game: i for i, g in enumerate(games)}
            for found in self.bench.table.play(role, role, specs, salt):
                outcomes[where[found.spec.game]].append(found.success)
        return [tuple(found) for found in outcomes]

    def _retell(self, params, prepared, games, seed):
        """Per game what became of every turn, told again of the target."""
        if self.reteller is None:
            return [(None,) * len(game.exchanges) for game in games]
        places = [
            (g, t)
            for g, game in enumerate(games)
            if game.reason is None  # of others nothing is learned
            for t in range(len(game.exchanges))
        ]
        pairs = []
        for g, t in places:
            spec, turn = games[g].spec, games[g].exchanges[t]
            rng = np.random.default_rng((*seed, 95, spec.game, t))
            image = spec.images[spec.target]
            pairs.append(Pair(image, turn.question, turn.answer, rng))
        role = Role(params, prepared.describer)
        again = self.reteller.retell(role, pairs)
        found = dict(zip(places, again, strict=True))
        return [
            tuple(found.get((g, t)) for t in range(len(game.exchanges)))
            for g, game in enumerate(games)
        ]

    def _put_openly(self, params, prepared, games):
        """Per game what became of every turn, put openly of the target."""
        if not self.config.openly:
            return [(None,) * len(game.exchanges) for game in games]
        bench = self.bench
        asked = [
            Leading(game.spec.images[game.spec.target], x.question, x.answer)
            for game in games
            if game.reason is None  # of others nothing is learned
            for x in game.exchanges
        ]
        found = iter(
            ask_openly(
                bench.engine,
                bench.tokenizer,
                bench.prompts,
                Role(params, prepared.describer),
                asked,
                bench.config.play.answer_tokens,
                max(bench.table.settings.slots // bench.engine.shards, 1),
            )
        )
        return [
            tuple(
                next(found) if game.reason is None else None
                for _ in game.exchanges
            )
            for game in games
        ]

    def tokens_said(self, record: GameRecord) -> int:
        """What was said last in an aborted game is not in its record."""
        words = [record.final_summary]
        for turn in record.turns:
            words += [turn.summary, turn.question, turn.answer]
        # Every role's words end with a token of their own.
        encode = self.bench.tokenizer.encode
        said = sum(len(encode(text)) + 1 for text in words if text)
        said += sum(t.retold.tokens for t in record.turns if t.retold)
        opened = [t.openly.answer for t in record.turns if t.openly]
        return said + sum(len(encode(text)) + 1 for text in opened)

    def select(
        self,
        records: Sequence[GameRecord],
        arm: str,
        iteration: int,
        budget: Mapping[str, int] | None,
    ) -> Selection:
        seed = (self.bench.config.seed, iteration)
        return choose.select(
            records, arm, self.config, self.bench, seed, budget
        )

    @staticmethod
    def views(
        records: Sequence[GameRecord], iteration: int, around: Surroundings
    ) -> tuple[()]:
        return ()

    def show(
        self, records: Sequence[GameRecord], iteration: int, most: int
    ) -> list[GameView]:
        found: dict[str, list[GameRecord]] = {name: [] for name in OUTCOMES}
        for record in records:
            if len(found[record.outcome]) < most:
                found[record.outcome].append(record)
        shown = [record for same in found.values() for record in same]
        numbered, images = copies.with_copies(shown, self.bench)
        return [
            GameView(json.loads(r.to_json()), [images[i] for i in seen.images])
            for r, seen in zip(shown, numbered, strict=True)
        ]
