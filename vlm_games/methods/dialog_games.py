"""VLM Dialog Games (arXiv 2502.02740): play, keep the telling games, learn.

    image sets -> played games -> evidence -> verdicts -> examples

The default listens by likelihood under independent views, and learns from
single answers that point to the target (`games.listener.credits`).
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TypedDict

import jax
import jax.numpy as jnp
import numpy as np

from vlm_games.data.augment import AugmentConfig, augment
from vlm_games.data.images import ImageSource
from vlm_games.data.records import OUTCOMES, GameRecord
from vlm_games.games import filters, listener
from vlm_games.games.image_sets import (
    ImageSet,
    draw_sets,
    exact_duplicates,
)
from vlm_games.games.play import Role
from vlm_games.games.protocol import GameSpec, PlayedGame
from vlm_games.games.questionnaire import play_list
from vlm_games.methods import choose, copies, corrupt, estimates
from vlm_games.methods.estimates import Estimate, Sizes
from vlm_games.methods.game_records import game_record
from vlm_games.methods.method import (
    REPLAY_ONLY,
    Selection,
    Stage,
    Workbench,
    fold,
)
from vlm_games.methods.retell import Pair, Reteller
from vlm_games.report.gallery import GameView

_view = jax.jit(augment, static_argnums=2)


@dataclasses.dataclass(frozen=True)
class Prepared:
    """The images as the roles and the judges see them in one iteration.

    Attributes:
      describer, guesser: image tokens [images * T, D] of the two roles.
      judges: of the independent views; empty if no filter asks for them.
      images: what they count: the unlabelled images, and corrupted copies.
      sets: of all games.
    """

    describer: jax.Array
    guesser: jax.Array
    judges: tuple[jax.Array, ...]
    images: ImageSource
    sets: Sequence[ImageSet]


class DialogGames:
    """The method; see `methods.method.Method`."""

    record = GameRecord
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

    def shards(self) -> int:
        return -(-self.config.games // self.config.shard)

    def warm_up(self, arm: str, iteration: int) -> tuple[Stage, ...]:
        return ()

    def prepare(self, params, iteration: int) -> Prepared:
        """Draws all games; encodes every image once per view."""
        c, images = self.config, self.bench.images
        pixels = np.stack([images[i] for i in range(len(images))])
        plain = self._encode(params, pixels, iteration, 0, 0.0)
        sets, images = copies.put_copies(
            self._draw_sets(pixels, plain, iteration), self.bench, iteration
        )
        if isinstance(images, copies.WithCopies):
            spoilt = self._encode(params, images.pixels, iteration, 0, 0.0)
            plain = jax.device_put(
                jnp.concatenate([plain, spoilt]), plain.sharding
            )
            pixels = np.concatenate([pixels, images.pixels])
        describer, *judges = (
            self._encode(params, pixels, iteration, view, strength)
            if strength
            else plain
            for view, strength in views(c).values()
        )
        return Prepared(describer, plain, tuple(judges), images, sets)

    def _draw_sets(self, pixels, plain, iteration: int) -> list[ImageSet]:
        """The images of all games of an iteration, all of the source."""
        groups = image_groups(self.bench.images.names, pixels)
        embeddings = None
        if self.config.sets == "similar":
            n = self.bench.model.tokens_per_image
            features = np.asarray(plain, np.float64)
            features = features.reshape(len(pixels), n, -1).mean(axis=1)
            embeddings = features - features.mean(axis=0)
        return draw_sets(
            kind=self.config.sets,
            count=self.config.games,
            size=self.config.images,
            seed=self.bench.config.seed,
            iteration=iteration,
            total=len(pixels),
            embeddings=embeddings,
            **groups,
        )

    def _encode(self, params, pixels, iteration, view: int, strength: float):
        """Image tokens of all images under one random view each."""
        seed = (self.bench.config.seed, iteration, view)
        return self.bench.engine.encode(params, seen(pixels, seed, strength))

    def candidates(
        self, params, prepared: Prepared, iteration: int, shard: int
    ) -> list[GameRecord]:
        first = shard * self.config.shard
        sets = prepared.sets[first : first + self.config.shard]
        specs = [
            GameSpec(
                g,
                found.images,
                found.target,
                asks_all=choose.asks_all(g, self.config.asks_all),
            )
            for g, found in enumerate(sets, start=first)
        ]
        seed = (self.bench.config.seed, iteration)
        games = self.play_games(params, prepared, specs, seed)
        evidence = self._gather(params, prepared, games, seed)
        games = [e.game for e, _ in evidence]
        retold = self._retell(params, prepared, games, seed)
        return [
            game_record(
                self.bench, prepared.images, iteration, found, judged, again
            )
            for (found, judged), again in zip(evidence, retold, strict=True)
        ]

    def play_games(
        self,
        params,
        prepared: Prepared,
        specs: Sequence[GameSpec],
        seed: tuple[int, int],
    ) -> list[PlayedGame]:
        """The games as played, in order of their numbers.

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

    def tokens_said(self, record: GameRecord) -> int:
        """What was said last in an aborted game is not in its record."""
        words = [record.final_summary]
        for turn in record.turns:
            words += [turn.summary, turn.question, turn.answer]
        # Every role's words end with a token of their own.
        encode = self.bench.tokenizer.encode
        said = sum(len(encode(text)) + 1 for text in words if text)
        return said + sum(t.retold.tokens for t in record.turns if t.retold)

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
        shown = [
            r
            for outcome in OUTCOMES
            for r in [r for r in records if r.outcome == outcome][:most]
        ]
        numbered, images = copies.with_copies(shown, self.bench)
        return [
            GameView(json.loads(r.to_json()), [images[i] for i in seen.images])
            for r, seen in zip(shown, numbered, strict=True)
        ]


def views(config) -> dict[str, tuple[int, float]]:
    """Who sees the images otherwise than the Guesser, which sees them plain.

    Args:
      config: `config.game`.

    Returns:
      name -> (number of the view, strength of its augmentation).
    """
    judges = {
        f"judge {i + 1}": (2 + i, config.judge_view)
        for i in range(config.judges)
    }
    return {"describer": (1, config.describer_view), **judges}


def seen(
    pixels: np.ndarray, seed: tuple[int, int, int], strength: float
) -> np.ndarray:
    """All images under one random view each, uint8 [N, H, W, 3].

    Args:
      seed: of the run, iteration and number of the view.
    """
    if not strength:
        return pixels
    config = AugmentConfig(strength=strength)
    return np.asarray(_view(fold(*seed), pixels, config))


class Groups(TypedDict):
    """Arguments of `draw_sets`, each int64 [n]."""

    duplicates: np.ndarray
    clusters: np.ndarray
    frames: np.ndarray


def image_groups(names: Sequence[str], pixels: np.ndarray) -> Groups:
    """Equal images, and images of one folder as a cluster or an episode.

    Args:
      names: of the images, with "/" between folders.
      pixels: uint8 [n, H, W, 3].
    """
    contents = [hashlib.sha256(x.tobytes()).hexdigest() for x in pixels]
    folders = exact_duplicates([name.rpartition("/")[0] for name in names])
    return {
        "duplicates": exact_duplicates(contents),
        "clusters": folders,
        "frames": folders,
    }
