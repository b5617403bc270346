"""One Optax step: jitted, donated, accumulated, sharded over the mesh."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from vlm_games.data.augment import AugmentConfig, augment
from vlm_games.models.config import VLMConfig
from vlm_games.models.mesh import (
    BATCH,
    constrain,
    fsdp_specs,
    pieces,
    place,
    shard_batch,
    sum_gradients,
    whole_but_blocks,
)
from vlm_games.training import losses


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """All that an update reads and writes.

    Attributes:
      params: float32 pytree, all that is trained: the model's params or their
        adapters.
      opt_state: Optax state of the same structure.
      step: int32, updates done.
    """

    params: object
    opt_state: object
    step: jax.Array


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with warm-up and cosine decay.

    Attributes:
      learning_rate: peak. warmup: steps to it. steps: steps to a hundredth
        of it.
      weight_decay: of AdamW, not on biases and scales.
      clip: global gradient norm.
    """

    learning_rate: float
    steps: int
    warmup: int = 0
    weight_decay: float = 0.0
    clip: float = 1.0


def _decays(params):
    """Which parameters weight decay shrinks: all but biases and scales.

    By name, not by rank: the bias of a projection to heads is [H, K].
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, _: path[-1].key not in ("bias", "scale"), params
    )


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """Returns the optimizer that `config` describes."""
    schedule = optax.warmup_cosine_decay_schedule(
        init_value=0.0 if config.warmup else config.learning_rate,
        peak_value=config.learning_rate,
        warmup_steps=config.warmup,
        decay_steps=max(config.steps, config.warmup + 1),
        end_value=0.01 * config.learning_rate,
    )
    return optax.chain(
        optax.clip_by_global_norm(config.clip),
        optax.adamw(
            schedule,
            b2=0.98,
            weight_decay=config.weight_decay,
            mask=_decays,
        ),
    )


def init_state(params, optimizer, mesh: Mesh) -> TrainState:
    """A state at step 0 that owns a copy of `params` (steps donate it).

    It is laid out over the mesh as a step returns it, so that the second
    step finds the first one's compilation.
    """
    params = jax.tree.map(jnp.copy, place(mesh, params))
    state = TrainState(params, optimizer.init(params), jnp.int32(0))
    return place(mesh, state)


def make_train_step(
    config: VLMConfig,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    augmentation: AugmentConfig,
    assemble: Callable = lambda frozen, trained: trained,
    loss: Callable = losses.cross_entropy,
):
    """Builds `step(state, frozen, batches, pixels, key, augmented)`.

    It returns (state, metrics).

    `batches` and `pixels` are tuples of equal length: micro-batches, each of
    its own fixed shape, whose gradients are summed before the update. Rows
    and images are split over the mesh; each shard's image slots count within
    the shard. State and `frozen` lie as `mesh.place` puts them. `metrics` has
    float32 `loss`, `grad_norm` and what else the loss totals, such as
    `accuracy`: all of them means over the weight of the whole update. The
    state is donated.

    `augmented`, a tuple that is static, tells of every micro-batch whether its
    images are seen in random views of `augmentation`; None: all are.

    `assemble` makes the model's params of `frozen`, which gets no gradient and
    no optimizer memory, and of what is trained; by default all is trained and
    `frozen` is None.

    `loss(config, params, batch, pixels)` is of `losses`: it gives sums over
    what it is shown, (loss, totals), one of the totals being "weight".
    """

    def loss_of(trained, frozen, batch, images):
        params = whole_but_blocks(assemble(frozen, trained))
        return loss(config, params, batch, images)

    def gradients(augmented, trained, frozen, batches, pixels, key):
        """Of a shard of the batch: local sums, then one over the mesh."""
        key = jax.random.fold_in(key, jax.lax.axis_index(BATCH))
        total = None
        for i, (batch, images) in enumerate(zip(batches, pixels, strict=True)):
            if augmented is None or augmented[i]:
                view = jax.random.fold_in(key, i)
                images = augment(view, images, augmentation)
            part = jax.value_and_grad(loss_of, has_aux=True)(
                trained, frozen, batch, images
            )
            total = (
                part if total is None else jax.tree.map(jnp.add, total, part)
            )
        return sum_gradients(total)

    @functools.partial(jax.jit, donate_argnums=0, static_argnames="augmented")
    def step(state: TrainState, frozen, batches, pixels, key, augmented=None):
        key = jax.random.fold_in(key, state.step)
        sharded = over_mesh(mesh, functools.partial(gradients, augmented))
        (total, totals), grads = sharded(
            state.params, frozen, batches, pixels, key
        )
        weight = jnp.maximum(totals.pop("weight"), 1e-6)
        grads = jax.tree.map(lambda g: g / weight, grads)
        updates, opt_state = optimizer.update(
            grads, state.opt_state, state.params
        )
        metrics = {name: value / weight for name, value in totals.items()}
        metrics["loss"] = total / weight
        metrics["grad_norm"] = optax.global_norm(grads)
        params = optax.apply_updates(state.params, updates)
        state = TrainState(params, opt_state, state.step + 1)
        return constrain(mesh, state), metrics

    return step


def over_mesh(mesh: Mesh, gradients: Callable):
    """`gradients(trained, frozen, batches, pixels, key)` of all shards.

    Params enter it as they lie, those that "fsdp" splits as a Piece.
    """

    def sharded(trained, frozen, *rest):
        own, others = fsdp_specs(mesh, trained), fsdp_specs(mesh, frozen)

        def mapped(trained, frozen, *rest):
            return gradients(
                pieces(trained, own), pieces(frozen, others), *rest
            )

        rows = P(BATCH)
        return shard_batch(
            mapped, mesh, (own, others, rows, rows, P()), (P(), own)
        )(trained, frozen, *rest)

    return sharded
