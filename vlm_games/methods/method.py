"""What every method has: candidates, a filter, examples to learn from.

    [warm_up]  ->  candidates  ->  select  ->  stages of fine-tuning
     a player       shards of       per arm
                    records

A method is one file with a class of this shape and, if it makes anything but
games, the record of its candidates; registry.py lists them.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import jax
from jax.sharding import Mesh

from vlm_games.data.examples import Example
from vlm_games.data.images import ImageSource
from vlm_games.data.schema import Record
from vlm_games.data.tokenizer import Tokenizer
from vlm_games.games.image_sets import ImageSet
from vlm_games.games.instructions import Instructions
from vlm_games.games.play import Table
from vlm_games.games.prompts import Prompts
from vlm_games.methods.estimates import Estimate, Sizes
from vlm_games.models.config import VLMConfig
from vlm_games.report.candidates import CandidateView
from vlm_games.report.gallery import GameView
from vlm_games.sampling.engine import Engine
from vlm_games.sampling.scoring import Scorer

MAIN = "main"
REPLAY_ONLY = "replay_only"  # the arm of every method that has no candidates
Made = Callable[[int], None]  # told a count
Examples = Mapping[str, Sequence[Example]]
Candidate = TypeVar("Candidate", bound=Record)


def unheard(count: int) -> None:
    """Where nobody wants to know how many candidates there are."""


@dataclasses.dataclass(frozen=True)
class Workbench:
    """What a method works with; the same for all arms and iterations.

    Attributes:
      config: the run's ConfigDict, read only.
      model: architecture.
      tokenizer: of the model.
      prompts: what it is told in games.
      instructions: what other methods tell it.
      mesh: all devices, as models train on them.
      engine: encodes images, holds sessions of what is read and said; it and
        the scorer are on this host's devices.
      scorer: log-probabilities of given words.
      table: where games are played, while playing and while measuring.
      images: the unlabelled images.
      draw_sets: (iteration, first game, count) -> the games' image sets.
      truth: (image, question, answer) -> whether the answer is true, or None
        where nobody knows. For measuring; nothing is chosen by it.
      faithful: (image, description) -> how many things it says that are true,
        and how many things it says; None where nobody knows. For measuring.
      stratum: (question, answer) -> name of the group within which answers
        are compared.
      told_truth: (situation in words, question, answer) -> as `truth`.
    """

    config: Any
    model: VLMConfig
    tokenizer: Tokenizer
    prompts: Prompts
    instructions: Instructions
    mesh: Mesh
    engine: Engine
    scorer: Scorer
    table: Table
    images: ImageSource
    draw_sets: Callable[[int, int, int], list[ImageSet]]
    truth: Callable[[int, str, str], bool | None]
    faithful: Callable[[int, str], tuple[int, int] | None]
    stratum: Callable[[str, str], str]
    told_truth: Callable[[str, str, str], bool | None]


@dataclasses.dataclass(frozen=True)
class Stage:
    """One fine-tuning of an iteration.

    Attributes:
      name: of its folder and in progress, such as "sft".
      examples: (params that the stage begins with) -> examples by stream, for
        each of which `rows` and `lengths` of the settings have an entry. A
        pure function: a resumed run calls it again. Those of one stream have
        equally many images, which are indices into `images`; there are none
        in streams of text alone.
      objective: "likelihood", cross-entropy on the learned words; or
        "preference", for examples with two branches, chosen and rejected,
        whose reference is the model that the stage begins with.
      settings: fields of config.train that are otherwise in this stage.
      images: what the examples' numbers count: of all streams or, in a
        mapping, of those that it names; the unlabelled images of others.
      replay: whether rows of the source are fed beside.
      said: (the examples) -> tokens that the model said to make them.
    """

    name: str
    examples: Callable[[Any], Examples]
    objective: str = "likelihood"
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    images: ImageSource | Mapping[str, ImageSource] | None = None
    replay: bool = True
    said: Callable[[Examples], int] = lambda examples: 0

    def images_of(self, stream: str, unlabelled: ImageSource) -> ImageSource:
        """What the numbers in the examples of a stream count."""
        if isinstance(self.images, Mapping):
            return self.images.get(stream, unlabelled)
        return unlabelled if self.images is None else self.images


@dataclasses.dataclass(frozen=True)
class Selection:
    """What an arm learns from in one iteration.

    Attributes:
      stages: in the order they are trained.
      kept: number of candidates chosen.
      budget: how much was chosen: controls choose as much.
      figures: for metrics.json; "filters", if there, has per filter what
        `games.filters.truth_rates` tells of it.
    """

    stages: tuple[Stage, ...]
    kept: int
    budget: Mapping[str, int]
    figures: Mapping[str, Any]


class Surroundings(Protocol):
    """What a record is shown with; a Workbench has it, and so has a folder.

    Attributes:
      config: the run's ConfigDict. images: the unlabelled images.
      instructions: what the model is told.
    """

    @property
    def config(self) -> Any: ...

    @property
    def images(self) -> ImageSource: ...

    @property
    def instructions(self) -> Instructions: ...


class Method(Protocol[Candidate]):
    """Candidates come in shards, each a pure function of its number.

    Attributes:
      record: class of the candidates.
      unit: what progress calls one of them.
      arms: what may stand in `config.controls`.
      standard: the arm that "standard" there stands for.
      idle: arms that learn from no candidates, for which none are made.
    """

    record: type[Candidate]
    unit: str
    arms: tuple[str, ...]
    standard: str
    idle: tuple[str, ...]

    def __init__(self, bench: Workbench):
        """Raises ValueError for settings that cannot be."""

    @staticmethod
    def estimate(sizes: Sizes) -> Estimate:
        """What an iteration makes, says and learns, told without a model."""

    @property
    def count(self) -> int:
        """How many candidates an iteration has."""

    def shards(self) -> int:
        """In how many shards they are made."""

    def warm_up(self, arm: str, iteration: int) -> tuple[Stage, ...]:
        """What the arm's model learns before it makes candidates; () if it is
        to make them as it is. The model so warmed up is not gone on with."""

    def prepare(self, params: Any, iteration: int) -> Any:
        """What all shards of an iteration share (encoded images)."""

    def candidates(
        self,
        params: Any,
        prepared: Any,
        iteration: int,
        shard: int,
        made: Made = unheard,
    ) -> list[Candidate]:
        """Makes one shard.

        Args:
          made: told how many of its candidates there are, where the host has
            read what was said anyway; for the progress alone.
        """

    def tokens_said(self, record: Candidate) -> int:
        """How many tokens the model said to make a candidate."""

    def select(
        self,
        records: Sequence[Candidate],
        arm: str,
        iteration: int,
        budget: Mapping[str, int] | None,
    ) -> Selection:
        """Chooses what `arm` learns from; a control matches `budget`."""

    def show(
        self, records: Sequence[Candidate], iteration: int, most: int
    ) -> Sequence[GameView | CandidateView]:
        """At most `most` of each outcome, with pictures, for the report."""

    @staticmethod
    def views(
        records: Sequence[Candidate], iteration: int, around: Surroundings
    ) -> Sequence[CandidateView]:
        """All records of an iteration, in order, as a page shows them; none of
        games, which have pages of their own."""


def count_branches(examples: Examples) -> dict[str, int]:
    """By stream, how many texts are learned."""
    return {
        name: sum(max(len(e.branches), 1) for e in found)
        for name, found in examples.items()
    }


def fold(seed: int, *numbers: int) -> jax.Array:
    """A PRNG key from small numbers."""
    key = jax.random.key(seed)
    for number in numbers:
        key = jax.random.fold_in(key, number)
    return key
