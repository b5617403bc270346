"""VLM Dialog Games (arXiv 2502.02740): play, keep the telling games, learn.

    image sets -> played games -> evidence -> verdicts -> examples

The default listens by likelihood under independent views, and learns from
single answers that point to the target (`games.listener.credits`).
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from vlm_games.data.augment import AugmentConfig, augment_each
from vlm_games.data.fetch import pieces
from vlm_games.data.records import OUTCOMES, GameRecord, Turn
from vlm_games.games import filters, listener
from vlm_games.games.image_sets import ImageSet
from vlm_games.games.play import Role
from vlm_games.games.protocol import GameSpec, PlayedGame
from vlm_games.games.questionnaire import play_list
from vlm_games.methods import choose
from vlm_games.methods.method import (
    REPLAY_ONLY,
    Selection,
    Stage,
    Workbench,
    fold,
)
from vlm_games.report.gallery import GameView

_view = jax.jit(augment_each, static_argnums=2)


@dataclasses.dataclass(frozen=True)
class Prepared:
    """The images of an iteration's games as roles and judges see them.

    Attributes:
      sets: of all games of the iteration.
      seen: int [n], sorted numbers of the images that were encoded.
      describer, guesser: their image tokens [n * T, D] for the two roles, and
        padding.
      judges: of the independent views; empty if no filter asks for them.
    """

    sets: Sequence[ImageSet]
    seen: np.ndarray
    describer: jax.Array
    guesser: jax.Array
    judges: tuple[jax.Array, ...]


class DialogGames:
    """The method; see `methods.method.Method`."""

    record = GameRecord
    arms = choose.ARMS
    standard = "unfiltered"
    idle = (REPLAY_ONLY,)

    def __init__(self, bench: Workbench):
        self.bench = bench
        self.config = bench.config.game

    def shards(self) -> int:
        return -(-self.config.games // self.config.shard)

    def warm_up(self, arm: str, iteration: int) -> tuple[Stage, ...]:
        return ()

    def prepare(self, params, iteration: int) -> Prepared:
        """Encodes every image that is played with once per view."""
        c, total = self.config, len(self.bench.images)
        sets = self.bench.draw_sets(iteration, 0, c.games)
        room = min(total, c.games * c.images)
        seen = np.arange(total)
        if room < total:
            seen = np.unique([i for one in sets for i in one.images])
        strengths = [0.0, c.describer_view, *[c.judge_view] * c.judges]
        views = [
            (number, strength)
            for number, strength in enumerate(strengths)
            if strength or number != 1
        ]
        tokens = self._encode(params, seen, iteration, views, room)
        return Prepared(
            sets,
            seen,
            describer=tokens.get(1, tokens[0]),
            guesser=tokens[0],
            judges=tuple(tokens[2 + i] for i in range(c.judges)),
        )

    def _encode(
        self, params, seen: np.ndarray, iteration: int, views, room: int
    ) -> dict[int, jax.Array]:
        """Image tokens [room * T, D] by number of the view.

        Args:
          views: (number, strength) of each; strength 0 is the image itself.
          room: images there is room for; the same in every iteration, so that
            nothing is compiled anew.
        """
        c, images, engine = (
            self.bench.config,
            self.bench.images,
            self.bench.engine,
        )
        # By an image's own number, whatever is encoded beside it.
        keys = {
            number: jax.random.split(
                fold(c.seed, iteration, number), len(images)
            )
            for number, strength in views
            if strength
        }
        found = {number: [] for number, _ in views}
        size, done = c.encode_images, 0
        for pixels in pieces(images, seen, size, c.image_workers):
            some = seen[done : done + size]
            short, done = size - len(some), done + size
            # One shape: compiled once.
            pixels = np.concatenate([pixels, pixels[:1].repeat(short, 0)])
            some = np.concatenate([some, some[:1].repeat(short)])
            for number, strength in views:
                view = pixels
                if strength:
                    config = AugmentConfig(strength=strength)
                    view = np.asarray(_view(keys[number][some], pixels, config))
                found[number].append(engine.encode(params, view))
        rows = room * self.bench.model.tokens_per_image
        return {number: _join(parts, rows) for number, parts in found.items()}

    def candidates(
        self, params, prepared: Prepared, iteration: int, shard: int
    ) -> list[GameRecord]:
        first = shard * self.config.shard
        last = min(first + self.config.shard, self.config.games)
        specs = [
            GameSpec(
                g,
                # Places among the images that were encoded.
                tuple(np.searchsorted(prepared.seen, found.images).tolist()),
                found.target,
                asks_all=choose.asks_all(g, self.config.asks_all),
            )
            for g, found in enumerate(prepared.sets[first:last], start=first)
        ]
        seed = (self.bench.config.seed, iteration)
        games = self._play(params, prepared, specs, seed)
        evidence = self._gather(params, prepared, games, seed)
        return [
            self._record(e, judged, iteration, prepared.seen)
            for e, judged in evidence
        ]

    def _play(self, params, prepared, specs, seed) -> list[PlayedGame]:
        """The games as played, in order of their numbers."""
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
        played = table.play(guesser, describer, specs, seed)
        return sorted(played, key=lambda g: g.spec.game)

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

    def _record(
        self,
        evidence: filters.Evidence,
        judged: np.ndarray,
        iteration: int,
        seen: np.ndarray,
    ) -> GameRecord:
        """The game as it goes to disk, its images by their own numbers."""
        game, bench = evidence.game, self.bench
        spec, n = game.spec, len(game.spec.images)
        images = tuple(int(seen[i]) for i in spec.images)
        target = images[spec.target]
        belief = listener.beliefs(evidence.shared)
        credit = listener.credits(judged, spec.target)
        turns = tuple(
            Turn(
                question=x.question,
                answer=x.answer,
                summary=x.summary,
                question_logprob=float(x.question_logprob),
                answer_logprob=float(x.answer_logprob),
                belief=tuple(belief[t].tolist()),
                credit=float(credit[t]),
                true=bench.truth(target, x.question, x.answer),
            )
            for t, x in enumerate(game.exchanges)
        )
        verdicts = filters.verdicts(evidence)
        aborted = game.reason is not None
        return GameRecord(
            game=spec.game,
            iteration=iteration,
            seed=bench.config.seed,
            images=images,
            names=tuple(bench.images.names[i] for i in images),
            target=spec.target,
            turns=turns,
            final_summary=game.final_summary,
            guess=None if aborted else game.guess,
            belief=turns[-1].belief if turns else (1.0 / n,) * n,
            outcome=game.outcome,
            reason=game.reason,
            filters=verdicts,
            kept=verdicts[self.config.filter] and not aborted,
        )

    def tokens_said(self, record: GameRecord) -> int:
        """What was said last in an aborted game is not in its record."""
        words = [record.final_summary]
        for turn in record.turns:
            words += [turn.summary, turn.question, turn.answer]
        # Every role's words end with a token of their own.
        encode = self.bench.tokenizer.encode
        return sum(len(encode(text)) + 1 for text in words if text)

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

    def show(
        self, records: Sequence[GameRecord], iteration: int, most: int
    ) -> list[GameView]:
        images = self.bench.images
        return [
            GameView(json.loads(r.to_json()), [images[i] for i in r.images])
            for outcome in OUTCOMES
            for r in [r for r in records if r.outcome == outcome][:most]
        ]


def _join(parts: Sequence[jax.Array], rows: int) -> jax.Array:
    """[rows, D] of arrays [m, D], cut off or padded with zeros."""
    tokens = jnp.concatenate(parts)[:rows]
    return jnp.pad(tokens, ((0, rows - len(tokens)), (0, 0)))
