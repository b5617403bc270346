"""VLM Dialog Games (arXiv 2502.02740): play, keep the telling games, learn.

    image sets -> played games -> evidence -> verdicts -> examples

The default listens by likelihood under independent views, and learns from
single answers that point to the target (`games.listener.credits`).
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from vlm_games.data.augment import AugmentConfig, augment
from vlm_games.data.records import OUTCOMES, GameRecord, Turn
from vlm_games.games import filters, listener
from vlm_games.games.image_sets import draw_sets, exact_duplicates
from vlm_games.games.play import Role
from vlm_games.games.protocol import GameSpec, PlayedGame
from vlm_games.games.questionnaire import play_list
from vlm_games.methods import choose, estimates
from vlm_games.methods.estimates import Estimate, Sizes
from vlm_games.methods.method import (
    REPLAY_ONLY,
    Selection,
    Stage,
    Workbench,
    fold,
)
from vlm_games.report.gallery import GameView

_view = jax.jit(augment, static_argnums=2)


@dataclasses.dataclass(frozen=True)
class Prepared:
    """The images as the roles and the judges see them in one iteration.

    Attributes:
      describer, guesser: image tokens [images * T, D] of the two roles.
      judges: of the independent views; empty if no filter asks for them.
      groups: what `draw_sets` needs to know of the images, by its names.
    """

    describer: jax.Array
    guesser: jax.Array
    judges: tuple[jax.Array, ...]
    groups: Mapping[str, Any]


class DialogGames:
    """The method; see `methods.method.Method`."""

    record = GameRecord
    arms: tuple[str, ...] = choose.ARMS
    standard = "unfiltered"
    idle: tuple[str, ...] = (REPLAY_ONLY,)

    def __init__(self, bench: Workbench):
        self.bench = bench
        self.config = bench.config.game

    @staticmethod
    def estimate(sizes: Sizes) -> Estimate:
        return estimates.dialog_games(sizes)

    def shards(self) -> int:
        return -(-self.config.games // self.config.shard)

    def warm_up(self, arm: str, iteration: int) -> tuple[Stage, ...]:
        return ()

    def prepare(self, params, iteration: int) -> Prepared:
        """Encodes every image once per view."""
        c, images = self.config, self.bench.images
        pixels = np.stack([images[i] for i in range(len(images))])
        plain = self._encode(params, pixels, iteration, 0, 0.0)
        describer = plain
        if c.describer_view:
            describer = self._encode(
                params, pixels, iteration, 1, c.describer_view
            )
        judges = tuple(
            self._encode(params, pixels, iteration, 2 + i, c.judge_view)
            for i in range(c.judges)
        )
        groups = image_groups(images.names, pixels)
        if c.sets == "similar":
            n = self.bench.model.tokens_per_image
            features = np.asarray(plain, np.float64)
            features = features.reshape(len(pixels), n, -1).mean(axis=1)
            groups["embeddings"] = features - features.mean(axis=0)
        return Prepared(describer, plain, judges, groups)

    def _encode(self, params, pixels, iteration, view: int, strength: float):
        """Image tokens of all images under one random view each."""
        if strength:
            key = fold(self.bench.config.seed, iteration, view)
            config = AugmentConfig(strength=strength)
            pixels = np.asarray(_view(key, pixels, config))
        return self.bench.engine.encode(params, pixels)

    def candidates(
        self, params, prepared: Prepared, iteration: int, shard: int
    ) -> list[GameRecord]:
        first = shard * self.config.shard
        last = min(first + self.config.shard, self.config.games)
        drawn = draw_sets(
            kind=self.config.sets,
            count=last - first,
            first=first,
            size=self.config.images,
            seed=self.bench.config.seed,
            iteration=iteration,
            total=len(self.bench.images),
            **prepared.groups,
        )
        sets = dict(enumerate(drawn, start=first))
        specs = [
            GameSpec(
                g,
                found.images,
                found.target,
                asks_all=choose.asks_all(g, self.config.asks_all),
            )
            for g, found in sets.items()
        ]
        seed = (self.bench.config.seed, iteration)
        games = self._play(params, prepared, specs, seed)
        evidence = self._gather(params, prepared, games, seed)
        return [self._record(e, judged, iteration) for e, judged in evidence]

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
        self, evidence: filters.Evidence, judged: np.ndarray, iteration: int
    ) -> GameRecord:
        """The game as it goes to disk."""
        game, bench = evidence.game, self.bench
        spec, n = game.spec, len(game.spec.images)
        target = spec.images[spec.target]
        belief = listener.beliefs(np.asarray(evidence.shared))
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
            images=tuple(int(i) for i in spec.images),
            names=tuple(bench.images.names[i] for i in spec.images),
            target=spec.target,
            turns=turns,
            final_summary=game.final_summary,
            guess=None if aborted else game.guess,
            belief=(turns[-1].belief if turns else None) or (1.0 / n,) * n,
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


def image_groups(
    names: Sequence[str], pixels: np.ndarray
) -> dict[str, np.ndarray]:
    """Equal images, and images of one folder as a cluster or an episode.

    Args:
      names: of the images, with "/" between folders.
      pixels: uint8 [n, H, W, 3].

    Returns:
      `duplicates`, `clusters` and `frames` of `draw_sets`, each int64 [n].
    """
    contents = [hashlib.sha256(x.tobytes()).hexdigest() for x in pixels]
    folders = exact_duplicates([name.rpartition("/")[0] for name in names])
    return {
        "duplicates": exact_duplicates(contents),
        "clusters": folders,
        "frames": folders,
    }
