"""The run's models, loaded when somebody plays; one call at a time."""

import collections
import dataclasses
import functools
import re
import threading
from collections.abc import Sequence

import numpy as np

from vlm_games.data.images import ImageSource
from vlm_games.data.tokenizer import Tokenizer
from vlm_games.games import listener
from vlm_games.games.play import Role, Table
from vlm_games.games.protocol import Exchange, GameSpec, PlayedGame
from vlm_games.games.questionnaire import play_list
from vlm_games.games.seats import Opposite
from vlm_games.training import checkpoint
from vlm_games.viewing.run_folder import Checkpoint, RunFolder
from vlm_games.workbench import Setup, build

MODELS_KEPT = 2  # checkpoints in memory, beside the base


@dataclasses.dataclass(frozen=True)
class Replayed:
    """A game of a checkpoint, with the belief after each turn, [T, N]."""

    which: Checkpoint
    game: PlayedGame
    beliefs: np.ndarray


class Players:
    """Plays with any checkpoint of a run."""

    def __init__(self, run: RunFolder):
        self.run = run
        self._lock = threading.RLock()
        self._params: collections.OrderedDict = collections.OrderedDict()

    @functools.cached_property
    def _setup(self) -> Setup:
        return build(self.run.config)

    @property
    def images(self) -> ImageSource:
        """What is played on."""
        return self.run.images

    def replay(
        self, which: Checkpoint, spec: GameSpec, seed: tuple[int, ...]
    ) -> Replayed:
        """Plays the game `spec` against itself.

        Args:
          spec: images by their numbers in the source.
        """
        with self._lock:
            bench = self._setup.bench
            role = self._role(which, spec.images)
            near = dataclasses.replace(
                spec, images=tuple(range(len(spec.images)))
            )
            rules = dataclasses.replace(
                bench.table.settings, slots=bench.engine.shards
            )
            fixed = (bench.engine, bench.tokenizer, bench.prompts, rules)
            if rules.questions:
                (game,) = play_list(*fixed, role, [near], seed)
            else:
                table = Table(*fixed, len(spec.images))
                (game,) = table.play(role, role, [near], seed)
            (found,) = self._listen(role, [game])
            if rules.guess == "likelihood":
                game = listener.decide(game, found)
        game = dataclasses.replace(game, spec=spec)
        return Replayed(which, game, listener.beliefs(found))

    def opposite(
        self, which: Checkpoint, images: Sequence[int], seed: tuple[int, ...]
    ) -> Opposite:
        """The model that plays against a person, before these images."""
        with self._lock:
            bench = self._setup.bench
            return Opposite(
                bench.engine,
                bench.tokenizer,
                bench.prompts,
                bench.table.settings,
                self._role(which, images),
                len(images),
                seed,
            )

    def lock(self):
        """Held while an `opposite` speaks: the devices are shared."""
        return self._lock

    def beliefs(
        self,
        opposite: Opposite,
        dialog: Sequence[Exchange],
    ) -> np.ndarray:
        """Belief over the game's images after each turn, [T, N]."""
        spec = GameSpec(0, tuple(range(opposite.images)), 0)
        game = PlayedGame(spec, tuple(dialog), "", None, None)
        with self._lock:
            (found,) = self._listen(opposite.role, [game])
        return listener.beliefs(found)

    def unknown_words(self, text: str) -> list[str]:
        """Words that the base's tokenizer has no token for, or that mean
        something else to it than their letters."""
        tokenizer = self._tokenizer
        special = set(tokenizer.hf.all_special_ids) | {tokenizer.image_id}
        return [
            word
            for word in dict.fromkeys(text.split())
            if special & set(tokenizer.encode(word))
        ]

    def spell(self, text: str) -> str:
        """`text` as a tokenizer of whole words wants it: a word that it has no
        token for in lower case, its signs apart. "Is it red?" becomes
        "is it red ?"."""
        tokenizer = self._tokenizer
        unknown = tokenizer.hf.unk_token_id

        def spelled(word: str) -> str:
            if unknown is None or unknown not in tokenizer.encode(word):
                return word
            return " ".join(re.findall(r"\w+|[^\w\s]", word.lower()))

        return " ".join(map(spelled, text.split()))

    @property
    def _tokenizer(self) -> Tokenizer:
        with self._lock:
            return self._setup.bench.tokenizer

    def _listen(self, role: Role, games: Sequence[PlayedGame]):
        bench = self._setup.bench
        return listener.listen(bench.scorer, bench.prompts, role, games)

    def _role(self, which: Checkpoint, images: Sequence[int]) -> Role:
        """The model, before these images alone."""
        params = self._load(which)
        pixels = np.stack([self.images[i] for i in images])
        engine = self._setup.bench.engine
        return Role(params, engine.encode(params, pixels, len(pixels)))

    def _load(self, which: Checkpoint):
        base = self._setup.base_params
        if not which.iteration:
            return base
        if which not in self._params:
            path = self.run.checkpoint_path(which)
            self._params[which] = checkpoint.load(path, base)
        self._params.move_to_end(which)
        while len(self._params) > MODELS_KEPT:
            self._params.popitem(last=False)
        return self._params[which]
