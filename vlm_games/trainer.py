"""How a stage is trained: its settings, its step, what it is fed."""

import dataclasses
import functools

import jax
import ml_collections
import optax

from vlm_games.data.augment import AugmentConfig
from vlm_games.data.packing import BatchShape
from vlm_games.methods.method import Examples, Stage
from vlm_games.replay import make_replay
from vlm_games.training import feed, lora, losses, step
from vlm_games.training.trainable import Trainable
from vlm_games.workbench import Run


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a kind of stage is trained.

    Attributes:
      settings: `config.train` with the stage's own settings.
      trainable: which params. optimizer, update: of training.step.
    """

    settings: ml_collections.ConfigDict
    trainable: Trainable
    optimizer: optax.GradientTransformation
    update: jax.stages.Wrapped


class Trainer:
    """What all arms and iterations train with; a step compiles once."""

    def __init__(self, run: Run):
        self._run = run
        self._recipes: dict[tuple[str, str], Recipe] = {}

    @functools.cached_property
    def replay(self):
        """The source's streams."""
        return make_replay(self._run)

    def recipe(self, stage: Stage) -> Recipe:
        """How the stage is trained; the same for all stages like it."""
        c = ml_collections.ConfigDict(self._run.config.train.to_dict())
        c.update(ml_collections.ConfigDict(stage.settings))
        kind = stage.objective, c.to_json(sort_keys=True)
        if kind not in self._recipes:
            self._recipes[kind] = self._make(stage.objective, c)
        return self._recipes[kind]

    def _make(self, objective: str, c) -> Recipe:
        bench = self._run.bench
        optimizer = step.make_optimizer(
            step.OptimizerConfig(
                c.learning_rate, c.steps, c.warmup, c.weight_decay
            )
        )
        adapters = lora.LoraConfig(**c.lora) if c.lora.rank else None
        trainable = Trainable(adapters, tuple(c.frozen))
        loss = losses.cross_entropy
        if objective == "preference":
            loss = functools.partial(
                losses.preference, beta=c.beta, alpha=c.alpha
            )
        update = step.make_train_step(
            dataclasses.replace(bench.model, remat=c.remat),
            optimizer,
            bench.mesh,
            AugmentConfig(strength=c.augment),
            assemble=trainable.assemble,
            loss=loss,
        )
        return Recipe(c, trainable, optimizer, update)


def make_streams(c, stage: Stage, examples: Examples, images, replay):
    """What is fed: the stage's examples by stream, and the source's."""
    found = [
        stream(
            c,
            name,
            several,
            stage.images_of(name, images),
            len(several[0].images),
        )
        for name, several in examples.items()
        if several and c.rows[name]
    ]
    return found + [
        stream(c, r.name, r.examples, r.images, r.per_row, c.replay_augmented)
        for r in replay
        if c.rows[r.name]
    ]


def stream(
    c, name: str, examples, images, per_row: int, augmented: bool = True
) -> feed.Stream:
    """A stream by `config.train`; a row holds at most `per_row` images."""
    rows = c.rows[name]
    shape = BatchShape(rows, c.lengths[name], rows * per_row)
    bank = images if per_row else None
    return feed.Stream(name, examples, bank, shape, augmented)
