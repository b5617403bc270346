"""The memory that a run takes of a device, phase by phase.

    play       params, image tokens, caches, what is being admitted
    score      params, image tokens, a batch of the scorer
    <stage>    params, what is trained, optimizer, gradients, activations
    measure    params of one model more, image tokens, caches of games

Games lie in two caches; other candidates are said some at a time, from the
method's own estimate (`methods.estimates`), which names the stages, too.

All figures are of each device. Params lie whole on it, or are split over the
devices of `config.mesh` that share a model; see `models.mesh`. What lies
there is counted to the byte, what computing takes is estimated; see `memory`.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import flax.traverse_util
import jax
from ml_collections import ConfigDict

from vlm_games.evaluation.choices import PER_SCENE, SAID
from vlm_games.games.layout import LENGTHS
from vlm_games.methods import estimates
from vlm_games.methods.estimates import WORDS, Lesson, Talk
from vlm_games.models.mesh import FSDP, TENSOR
from vlm_games.planning import memory
from vlm_games.planning.plan import Plan
from vlm_games.sampling.engine import bucket, round_up
from vlm_games.training import lora, step

GIB = 2**30
RESERVED = 0.1  # of a device's memory, for the runtime, gaps and errors
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
    estimate = plan.estimate
    scored = score_rows(plan)
    return {
        "params": param_rows(plan),
        "play": play_rows(plan),
        **({"score": scored} if scored else {}),
        **{x.name: train_rows(plan, x) for x in estimate.lessons},
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
    names = ("vision", "connector", "decoder", "embeddings")
    parts: dict[str, dict] = {name: {} for name in names}
    for path, shape in plan.shapes.items():
        part = lora.part_of(path)
        parts["embeddings" if part in EMBEDDINGS else part][path] = shape
    return [
        Row(
            name,
            memory.tree_bytes(shapes, {TENSOR: plan.together}),
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
    views = estimates.count_views(plan.config.game)
    return bank(plan, "to play on", estimates.played_with(plan), views)


def caches(plan: Plan) -> list[Row]:
    """Both sessions of a table, and what it takes to admit games."""
    model, rows, sizes = plan.model, plan.slots, plan.capacities()
    each = [
        memory.session_bytes(model, rows, size, plan.together) for size in sizes
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
        plan.together,
    )
    return [
        Row("games being admitted: a copy of the cache", held),
        Row(f"games being admitted: a block of {rows} x {read} tokens", block),
    ]


def play_rows(plan: Plan) -> list[Row]:
    """While candidates are made, or images encoded for them if that is more."""
    if plan.config.method != "dialog_games":
        return talk_rows(plan)
    rows = caches(plan)
    if plan.settings.questions:  # of a list: asked in rounds, without a table
        read, said = plan.listened(), plan.settings.answer_tokens
        rows = session(plan, "answers", plan.slots, read, said)
    rows = most_of([rows, tower(plan)])
    return [models(plan, before(plan)), play_bank(plan), *rows]


def talk_rows(plan: Plan) -> list[Row]:
    """While a method's candidates are said, the kind that takes most."""
    talks = [talk for talk in plan.estimate.talks if talk.rows]
    found = []
    for talk in talks:
        rows = session(plan, talk.name, talk.rows, talk.read, talk.said)
        if talk.images:
            rows = most_of([rows, tower(plan)])
            rows.insert(0, bank(plan, talk.name, talk.images, 1))
        found.append(rows)
    # A warmed-up model stands beside those that are there anyway.
    names = before(plan)
    if any(lesson.warm_up for lesson in plan.estimate.lessons):
        names.append("tuned")
    return [models(plan, names), *most_of(found)]


def session(plan: Plan, name: str, rows: int, read: int, said: int):
    """So many prompts that are read, and answered, at once."""
    width = bucket(read)
    size = width + said
    held = memory.session_bytes(plan.model, rows, size, plan.together)
    words = memory.session_bytes(plan.model, rows, said, plan.together)
    return [
        Row(f"cache, {name}: {rows} x {size} tokens", held),
        Row(f"words being said: {rows} x {said} tokens", words),
        *admission(plan, rows, width, size, held),
    ]


def tower(plan: Plan) -> list[Row]:
    """While images are encoded."""
    images = max(plan.config.encode_images // plan.shards, 1)
    needed = memory.encode_bytes(plan.model, images, plan.together)
    return [Row(f"a block of the tower for {images} images", needed)]


def most_of(several: Sequence[list[Row]]) -> list[Row]:
    """Of what comes one after another, what takes most."""
    return max(several, key=total)


def score_rows(plan: Plan) -> list[Row]:
    """While texts are scored, by listener and judges or as a reference."""
    talks = [talk for talk in plan.estimate.talks if not talk.said]
    if not talks:
        return []
    (talk,) = talks
    rows = plan.config.score_rows
    needed = memory.score_bytes(plan.model, rows, talk.read, plan.together)
    return [
        models(plan, before(plan)),
        bank(plan, talk.name, talk.images, 1)
        if talk.images
        else play_bank(plan),
        Row(f"a block, or logits: {rows} x {talk.read} tokens", needed),
    ]


def settings_of(plan: Plan, lesson: Lesson) -> ConfigDict:
    """`config.train` as the stage has it."""
    c = ConfigDict(plan.config.train.to_dict())
    c.update(ConfigDict(dict(lesson.settings)))
    return c


def streams(plan: Plan, lesson: Lesson) -> dict[str, int]:
    """Images of a row, by every stream that the stage is fed."""
    found = dict(lesson.images)
    if lesson.replay:
        found |= {"replay_answer": 1, "replay_game": plan.images}
    rows = settings_of(plan, lesson).rows
    return {name: images for name, images in found.items() if rows[name]}


def trained_parts(c: ConfigDict) -> tuple[str, ...]:
    """The parts of a model that settings train."""
    parts = c.lora.parts if c.lora.rank else ("vision", "connector", "decoder")
    return tuple(part for part in parts if part not in c.frozen)


def train_rows(plan: Plan, lesson: Lesson) -> list[Row]:
    """While the model is fine-tuned; micro-batches take turns."""
    c = settings_of(plan, lesson)
    trained = {
        path: shape
        for path, shape in plan.shapes.items()
        if lora.part_of(path) not in c.frozen
    }
    if c.lora.rank:
        trained = adapters(plan, c)
    optimizer = step.make_optimizer(
        step.OptimizerConfig(c.learning_rate, c.steps, c.warmup, c.weight_decay)
    )
    state = jax.eval_shape(optimizer.init, trained)
    own = memory.tree_bytes(trained, plan.learning)
    count = sum(x.size for x in trained.values())
    fed = streams(plan, lesson)
    # With several micro-batches there is their sum, and what joins it.
    sums = min(len(fed), 2)
    what = "adapters" if c.lora.rank else "a copy that is trained"
    names = before(plan)
    first = next(x for x in plan.estimate.lessons if not x.warm_up)
    if not lesson.warm_up and lesson.name != first.name:
        names.append(first.name)  # the model that it goes on with
    return [
        models(plan, names),
        Row(what, own, count),
        Row("optimizer's state", memory.tree_bytes(state, plan.learning)),
        Row("gradients", sums * own),
        *moved(plan, {} if c.lora.rank else trained),
        *made_whole(plan),
        *sorted(
            (activations(plan, c, name, fed[name]) for name in fed),
            key=lambda row: row.bytes,
        )[-1:],
    ]


def moved(plan: Plan, trained: Mapping[str, object]) -> list[Row]:
    """Params that are not trained, where they lie otherwise than in play.

    Args:
      trained: those that are, by path; adapters are not among a model's params.
    """
    still = {k: x for k, x in plan.shapes.items() if k not in trained}
    if not still or plan.learning == {FSDP: 1, TENSOR: plan.together}:
        return []
    size = memory.tree_bytes(still, plan.learning)
    return [Row("params that stay as they are", size)]


def made_whole(plan: Plan) -> list[Row]:
    """What a step holds whole of params that "fsdp" splits, and its gradient:
    a block, and all that is in none."""
    if plan.config.mesh.fsdp == 1:
        return []
    blocks: dict[str, dict] = {}
    rest = {}
    for path, shape in plan.shapes.items():
        block, found, _ = path.partition(".block_")
        if found:
            name = path[: path.index(".", len(block) + 1)]
            blocks.setdefault(name, {})[path] = shape
        else:
            rest[path] = shape
    axes = {TENSOR: plan.tensor}
    most = max(memory.tree_bytes(b, axes) for b in blocks.values())
    size = 2 * (most + memory.tree_bytes(rest, axes))
    return [Row("made whole for a while: a block, embeddings", size)]


def adapters(plan: Plan, c: ConfigDict) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of the adapters that a stage's settings ask for, by path."""
    config = lora.LoraConfig(**{**c.lora, "parts": trained_parts(c)})
    params = flax.traverse_util.unflatten_dict(dict(plan.shapes), sep=".")
    shapes = jax.eval_shape(
        lambda: lora.init(config, params, jax.random.key(0))
    )
    return flax.traverse_util.flatten_dict(shapes, sep=".")


def activations(plan: Plan, c: ConfigDict, name: str, images: int) -> Row:
    """Of one micro-batch of a stream; `images`: of a row."""
    rows, length = c.rows[name], c.lengths[name]
    vision = "vision" in trained_parts(c)
    model = dataclasses.replace(plan.model, remat=c.remat)
    needed = memory.train_bytes(
        model, rows, length, rows * images, vision, plan.tensor
    )
    return Row(f"activations, {name}: {rows} x {length} tokens", needed)


def measure_rows(plan: Plan) -> list[Row]:
    """While the new model is measured; the one before is there still."""
    source = plan.config.eval.source_images
    kinds = [caches(plan)]
    kinds += [
        session(plan, x.name, x.rows, x.read, x.said)
        for x in measured_talks(plan)
    ]
    return [
        models(plan, [*before(plan), "new"]),
        bank(plan, "held out", measured_on(plan), 3),
        bank(plan, "of the source", source, 1),
        *most_of(kinds),
    ]


def measured_on(plan: Plan) -> int:
    """Most images that the held-out games are of."""
    _, held = plan.image_counts()
    return min(held, plan.config.eval.games * plan.images)


def measured_talks(plan: Plan) -> list[Talk]:
    """What is said of the target's images while a model is measured."""
    c, x, instruct = plan.config.eval, plan.instructions, plan.prompts.instruct
    frame = {"question": "", "options": ""}
    found = []
    if c.choices:
        read = plan.length(instruct(x.choice.format(**frame)), 1) + WORDS
        count = PER_SCENE * c.target_images
        found.append(Talk("choices", count, c.rows, read, SAID))
    if c.described:
        read, said = (
            plan.length(instruct(x.describe[0]), 1),
            (c.description_tokens),
        )
        count = c.target_images
        found.append(Talk("descriptions", count, c.rows, read, said))
    return found
