"""What every method has: candidates, a filter, examples to learn from."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import jax
from jax.sharding import Mesh

from vlm_games.data.examples import Example
from vlm_games.data.images import ImageSource
from vlm_games.data.records import GameRecord
from vlm_games.data.tokenizer import Tokenizer
from vlm_games.games.play import Table
from vlm_games.games.prompts import Prompts
from vlm_games.models.config import VLMConfig
from vlm_games.sampling.engine import Engine
from vlm_games.sampling.scoring import Scorer


@dataclasses.dataclass(frozen=True)
class Workbench:
    """What a method works with; the same for all arms and iterations.

    Attributes:
      config: the run's ConfigDict, read only.
      model: architecture.
      tokenizer, prompts: of the model.
      mesh, engine, scorer: the devices and the compiled functions.
      table: where games are played, while playing and while measuring.
      images: the unlabelled images.
      truth: (image, question, answer) -> whether the answer is true, or None
        where nobody knows. For measuring; nothing is chosen by it.
      stratum: (question, answer) -> name of the group within which answers
        are compared.
    """

    config: Any
    model: VLMConfig
    tokenizer: Tokenizer
    prompts: Prompts
    mesh: Mesh
    engine: Engine
    scorer: Scorer
    table: Table
    images: ImageSource
    truth: Callable[[int, str, str], bool | None]
    stratum: Callable[[str, str], str]


@dataclasses.dataclass(frozen=True)
class Selection:
    """What an arm learns from in one iteration.

    Attributes:
      examples: by stream, for each of which `config.train.rows` and
        `config.train.lengths` have an entry ("describer", "guesser"); those
        of one stream have equally many images, which are indices into the
        unlabelled images.
      kept: number of candidates chosen.
      figures: for metrics.json; "filters", if there, has per filter what
        `games.filters.truth_rates` tells of it.
    """

    examples: Mapping[str, Sequence[Example]]
    kept: int
    figures: Mapping[str, Any]

    @property
    def budget(self) -> dict[str, int]:
        """How much was chosen: controls choose as much."""
        branches = {
            name: sum(max(len(e.branches), 1) for e in found)
            for name, found in self.examples.items()
        }
        return {"kept": self.kept, **branches}


class Method(Protocol):
    """Candidates come in shards, each a pure function of its number."""

    def shards(self) -> int:
        """How many shards of candidates an iteration has."""

    def prepare(self, params: Any, iteration: int) -> Any:
        """What all shards of an iteration share (encoded images)."""

    def candidates(
        self, params: Any, prepared: Any, iteration: int, shard: int
    ) -> list[GameRecord]:
        """Makes one shard, with the filters' verdicts in every record."""

    def select(
        self,
        records: Sequence[GameRecord],
        arm: str,
        iteration: int,
        budget: Mapping[str, int] | None,
    ) -> Selection:
        """Chooses what `arm` learns from; a control matches `budget`."""


def fold(seed: int, *numbers: int) -> jax.Array:
    """A PRNG key from small numbers."""
    key = jax.random.key(seed)
    for number in numbers:
        key = jax.random.fold_in(key, number)
    return key
