"""The memory that a run takes of a device, phase by phase.

    play       params, image tokens, two caches, games being admitted
    score      params, image tokens, a batch of the scorer
    train      params, what is trained, optimizer, gradients, activations
    measure    params of one model more, image tokens, caches as in play

All figures are of each device. Params lie whole on it, or are split over the
`config.mesh.tensor` devices that share a model; see `models.mesh`. What lies
there is counted to the byte, what computing takes is estimated; see `memory`.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import flax.traverse_util
import jax

from vlm_games.games import answer
from vlm_games.games.layout import LENGTHS
from vlm_games.planning import memory
from vlm_games.planning.plan import Plan
from vlm_games.sampling.engine import bucket, round_up
from vlm_games.training import lora, step

GIB = 2**30
RESERVED = 0.1  # of a device's memory, for the runtime, gaps and errors
SEVERAL = ("guesser", "replay_game")  # streams whose rows hold a whole game
EMBEDDINGS = ("embed", "head", "newline")  # paths of params


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
      name: what it is. bytes: on each device. count: of params, in one copy.
    """

    name: str
    bytes: int
    count: int = 0


Table = Mapping[str, Sequence[Row]]


def table(plan: Plan) -> Table:
    """Rows of one copy of the params, and of every phase of an iteration."""
    return {
        "params": param_rows(plan),
        "play": play_rows(plan),
        "score": score_rows(plan),
        "train": train_rows(plan),
        "measure": measure_rows(plan),
    }


def most(rows: Table) -> tuple[str, int]:
    """The phase that takes most, and its bytes."""
    sums = {k: total(v) for k, v in rows.items() if k != "params"}
    return max(sums.items(), key=lambda item: item[1])


def total(rows: Sequence[Row]) -> int:
    """Bytes of rows that are there at once."""
    return sum(row.bytes for row in rows)


def fits(rows: Table, memory_gib: float) -> bool:
    """Whether the phase that takes most leaves a tenth of the device."""
    return most(rows)[1] <= (1 - RESERVED) * memory_gib * GIB


def param_rows(plan: Plan) -> list[Row]:
    """One copy of the params, by part."""
    parts = {n: {} for n in ("vision", "connector", "decoder", "embeddings")}
    for path, shape in plan.shapes.items():
        part = lora.part_of(path)
        parts["embeddings" if part in EMBEDDINGS else part][path] = shape
    return [
        Row(
            name,
            memory.tree_bytes(shapes, plan.tensor),
            sum(x.size for x in shapes.values()),
        )
        for name, shapes in parts.items()
    ]


def models(plan: Plan, names: Sequence[str]) -> Row:
    """Whole models, one copy of the params each."""
    name = f"params of {len(names)}: {', '.join(names)}"
    return Row(name, len(names) * total(param_rows(plan)))


def before(plan: Plan) -> list[str]:
    """The models that are there while an iteration plays and trains."""
    return ["base", "latest"][: plan.models]


def bank(plan: Plan, what: str, images: int, views: int) -> Row:
    """Image tokens of so many images, under so many views each."""
    each = plan.model.tokens_per_image
    name = f"image tokens, {what}: {images} x {each}, views: {views}"
    return Row(name, views * memory.bank_bytes(plan.model, images))


def play_bank(plan: Plan) -> Row:
    """Image tokens of the images to play on."""
    c = plan.config.game
    views = 1 + bool(c.describer_view) + c.judges
    images = min(plan.image_counts()[0], c.games * c.images)
    return bank(plan, "to play on", images, views)


def caches(plan: Plan) -> list[Row]:
    """Both sessions of a table, and what it takes to admit games."""
    model, rows, sizes = plan.model, plan.slots, plan.capacities()
    each = [
        memory.session_bytes(model, rows, size, plan.tensor) for size in sizes
    ]
    return [
        Row(f"Guesser's cache: {rows} x {sizes[0]} tokens", each[0]),
        Row(f"Describer's cache: {rows} x {sizes[1]} tokens", each[1]),
        *admission(
            plan, rows, round_up(plan.opening(), LENGTHS), sizes[0], max(each)
        ),
    ]


def admission(plan: Plan, rows: int, read: int, keys: int, held: int):
    """A copy of the rows, as they are filled or grow; a block that reads."""
    block = memory.read_block(
        plan.model.decoder,
        plan.model.compute_dtype,
        rows * read,
        keys,
        plan.tensor,
    )
    return [
        Row("games being admitted: a copy of the cache", held),
        Row(f"games being admitted: a block of {rows} x {read} tokens", block),
    ]


def play_rows(plan: Plan) -> list[Row]:
    """While games are played, or images encoded for them if that is more."""
    rows = caches(plan)
    if plan.settings.questions:  # of a list: asked in rounds, without a table
        read = bucket(plan.longest()["describer"])
        size = read + plan.settings.answer_tokens
        held = memory.session_bytes(plan.model, answer.ROWS, size, plan.tensor)
        rows = [
            Row(f"Describer's cache: {answer.ROWS} x {size} tokens", held),
            *admission(plan, answer.ROWS, read, size, held),
        ]
    images = max(plan.config.encode_images // plan.shards, 1)
    needed = memory.encode_bytes(plan.model, images, plan.tensor)
    if needed > total(rows):
        rows = [Row(f"a block of the tower for {images} images", needed)]
    return [models(plan, before(plan)), play_bank(plan), *rows]


def score_rows(plan: Plan) -> list[Row]:
    """While answers are scored, as listener and judges do."""
    rows, length = plan.config.score_rows, plan.longest()["describer"]
    needed = memory.score_bytes(plan.model, rows, length, plan.tensor)
    name = f"a block, or logits: {rows} x {length} tokens"
    return [models(plan, before(plan)), play_bank(plan), Row(name, needed)]


def train_rows(plan: Plan) -> list[Row]:
    """While the model is fine-tuned; micro-batches take turns."""
    c = plan.config.train
    trained = adapters(plan) if c.lora.rank else plan.shapes
    optimizer = step.make_optimizer(
        step.OptimizerConfig(c.learning_rate, c.steps, c.warmup, c.weight_decay)
    )
    state = jax.eval_shape(optimizer.init, dict(trained))
    own = memory.tree_bytes(dict(trained), plan.tensor)
    count = sum(x.size for x in trained.values())
    names = [name for name, rows in c.rows.items() if rows]
    # With several micro-batches there is their sum, and what joins it.
    sums = min(len(names), 2)
    what = "adapters" if c.lora.rank else "a copy that is trained"
    return [
        models(plan, before(plan)),
        Row(what, own, count),
        Row("optimizer's state", memory.tree_bytes(state, plan.tensor)),
        Row("gradients", sums * own),
        *sorted(
            (activations(plan, name) for name in names),
            key=lambda row: row.bytes,
        )[-1:],
    ]


def adapters(plan: Plan) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of the adapters that `config.train.lora` asks for, by path."""
    config = lora.LoraConfig(**plan.config.train.lora)
    params = flax.traverse_util.unflatten_dict(dict(plan.shapes), sep=".")
    shapes = jax.eval_shape(
        lambda: lora.init(config, params, jax.random.key(0))
    )
    return flax.traverse_util.flatten_dict(shapes, sep=".")


def activations(plan: Plan, name: str) -> Row:
    """Of one micro-batch of a stream."""
    c = plan.config.train
    rows, length = c.rows[name], c.lengths[name]
    images = rows * (plan.images if name in SEVERAL else 1)
    vision = not c.lora.rank or "vision" in c.lora.parts
    model = dataclasses.replace(plan.model, remat=c.remat)
    needed = memory.train_bytes(
        model, rows, length, images, vision, plan.tensor
    )
    return Row(f"activations, {name}: {rows} x {length} tokens", needed)


def measure_rows(plan: Plan) -> list[Row]:
    """While the new model is measured; the one before is there still."""
    c = plan.config.eval
    held = min(plan.image_counts()[1], c.games * plan.images)
    return [
        models(plan, [*before(plan), "new"]),
        bank(plan, "held out", held, 3),
        bank(plan, "of the source", c.source_images, 1),
        *caches(plan),
    ]
