"""Trains a base on labelled source scenes and writes its model directory.

    python -m vlm_games.pretraining.train --config=base --output=/tmp/base

With --dry_run it only tells what it would do: model, rows, tokens, cost.
"""

import dataclasses
import json
import pathlib
import sys
import time
from collections.abc import Sequence
from concurrent import futures

import jax
import numpy as np
from absl import flags
from tqdm import tqdm

from vlm_games import command_line
from vlm_games.data import packing
from vlm_games.data.augment import AugmentConfig
from vlm_games.data.tokenizer import Tokenizer, word_tokenizer
from vlm_games.games.prompts import Prompts, prompt_words
from vlm_games.models.checkpoint import load_model, save_model
from vlm_games.models.config import (
    ConnectorConfig,
    TransformerConfig,
    VisionConfig,
    VLMConfig,
)
from vlm_games.models.mesh import make_mesh
from vlm_games.models.shipped import find_shipped
from vlm_games.models.vlm import init_params
from vlm_games.pretraining import examples, tasks
from vlm_games.pretraining.frames import SUBJECTS, load_frames
from vlm_games.pretraining.grow import grow
from vlm_games.robot import questions as robot
from vlm_games.training import step
from vlm_games.training.trainable import Trainable
from vlm_games.worlds import questions as world
from vlm_games.worlds.splits import load_split

MODULE = "vlm_games.pretraining.train"
NUMBERS = [str(n) for n in range(1, 9)]  # images a game may name


def model_config(c, tokenizer: Tokenizer) -> VLMConfig:
    """The architecture that a base config describes."""
    vision = TransformerConfig(
        width=c.vision_width,
        depth=c.vision_depth,
        heads=c.vision_heads,
        kv_heads=c.vision_heads,
        head_dim=c.vision_width // c.vision_heads,
        mlp_width=3 * c.vision_width,
        activation="relu",  # an exact GELU costs a tenth of a CPU step
        gated=False,
        rope=None,
    )
    decoder = TransformerConfig(
        width=c.width,
        depth=c.depth,
        heads=c.heads,
        kv_heads=c.heads,
        head_dim=c.width // c.heads,
        mlp_width=3 * c.width,
        gated=False,
        activation="relu",
    )
    return VLMConfig(
        vocab_size=len(tokenizer.hf),
        vision=VisionConfig(c.image_size, c.patch_size, vision),
        connector=ConnectorConfig(fold=c.shuffle, hidden=2 * c.width),
        decoder=decoder,
        image_token_id=tokenizer.image_id,
    )


@dataclasses.dataclass(frozen=True)
class Drawn:
    """Labelled images of a row, and how it is made of them.

    Attributes:
      known: what is known of each, a scene or the facts of a frame.
      images: their numbers. recipe, subject: of the row.
    """

    known: list
    images: list[int]
    recipe: examples.Recipe
    subject: examples.Subject


class BatchMaker:
    """Draws micro-batches of each kind of row; random, but from `seed`."""

    def __init__(self, c, tokenizer: Tokenizer, tokens_per_image: int):
        self.c, self.tokenizer = c, tokenizer
        self.tokens_per_image = tokens_per_image
        size = c.model.image_size
        self.scenes, self.pixels = load_split(
            "source/train", c.scenes, size=size
        )
        self.frames = load_frames(c.frames, size) if c.frames else None
        self.recipe = examples.Recipe(**c.recipe)
        # Labels of frames are the simulator's, who is no leading question's.
        self.frame_recipe = dataclasses.replace(self.recipe, agree=0.0)
        self.tasks = tasks.Tasks(**c.tasks)
        self.prompts, self.language = Prompts(), tasks.Language()
        one, several = c.answer_length, c.game_length
        n, records = c.images, self.tasks.records
        kinds = {
            # kind: (maker, rows, length, scenes of a row, images of a row)
            "answer": (self._answer, c.answer_rows, one, 1, 1),
            "probe": (self._probe, c.probe_rows, several, n, n),
            "game": (self._game, c.game_rows, several, n, n),
            "task": (self._task, c.task_rows, c.task_length, 1, 1),
            "told": (self._told, c.told_rows, c.text_length, 1, 0),
            "record": (self._record, c.record_rows, c.text_length, records, 0),
            "frame": (self._answer, c.frame_rows, one, 1, 1),
            "frame_probe": (self._probe, c.frame_probe_rows, several, n, n),
            "frame_game": (self._game, c.frame_game_rows, several, n, n),
        }
        self.kinds = {k: kind for k, kind in kinds.items() if kind[1]}

    def _answer(self, rng, d: Drawn):
        return examples.answer_row(
            rng, self.prompts, d.recipe, d.known[0], d.images[0], d.subject
        )

    def _probe(self, rng, d: Drawn):
        return examples.probe_row(
            rng, self.prompts, d.recipe, d.known, d.images, d.subject
        )

    def _game(self, rng, d: Drawn):
        return examples.game_row(
            rng, self.prompts, d.recipe, d.known, d.images, d.subject
        )

    def _task(self, rng, d: Drawn):
        return tasks.task_row(
            rng, self.language, d.recipe, self.tasks, d.known[0], d.images[0]
        )

    def _told(self, rng, d: Drawn):
        return tasks.told_row(rng, self.language, self.tasks, d.known[0])

    def _record(self, rng, d: Drawn):
        return tasks.record_row(rng, self.language, self.tasks, d.known)

    def _draw(self, rng: np.random.Generator, kind: str, count: int) -> Drawn:
        if self.frames is not None and kind.startswith("frame"):
            ids = self.frames.draw(rng, count, self.c.frames_last)
            facts = [self.frames.facts[i] for i in ids]
            subject = SUBJECTS[self.frames.tasks[ids[0]]]
            return Drawn(facts, ids, self.frame_recipe, subject)
        ids = rng.choice(len(self.scenes), count, replace=False).tolist()
        scenes = [self.scenes[i] for i in ids]
        return Drawn(scenes, ids, self.recipe, examples.SCENES)

    def make(self, rng: np.random.Generator, kind: str):
        """One micro-batch: (Batch, pixels uint8 [M, H, W, 3])."""
        maker, rows, length, scenes_per_row, images_per_row = self.kinds[kind]
        encoded: list[packing.Encoded] = []
        while len(encoded) < rows:
            example = maker(rng, self._draw(rng, kind, scenes_per_row))
            e = packing.encode(example, self.tokenizer, self.tokens_per_image)
            if len(e.tokens) <= length:
                encoded.append(e)
        shape = packing.BatchShape(rows, length, rows * images_per_row)
        batch, _ = packing.pack(encoded, shape, self.tokens_per_image)
        pixels = self.pixels
        if self.frames is not None and kind.startswith("frame"):
            pixels = self.frames.pixels
        return batch, pixels[batch.images]


def make_tokenizer(c) -> Tokenizer:
    """Of the words that prompts and the world have, and of numbers; those of
    frames, if there are any, come last."""
    words = [*prompt_words(Prompts(), c.images), *NUMBERS, *world.VOCABULARY]
    frames = robot.VOCABULARY if c.frames else ()
    return word_tokenizer([*words, *frames])


def phases(c, kinds: Sequence[str]) -> list[tuple[str, int, list[str]]]:
    """(name, steps, kinds of rows) of what is trained one after the other."""
    text = [kind for kind in ("told", "record") if kind in kinds]
    found = [
        ("text", c.text_steps, text),
        ("see", c.see_steps, ["answer", "frame"]),
        ("play", c.play_steps, list(kinds)),
    ]
    return [
        (name, steps, [kind for kind in rows if c[f"{kind}_rows"]])
        for name, steps, rows in found
        if steps
    ]


def train(c, output: str) -> None:
    """Trains by config `c` and writes the model directory `output`."""
    started = time.time()
    tokenizer = make_tokenizer(c)
    config = model_config(c.model, tokenizer)
    # One device: a batch packs its image slots as one shard.
    mesh = make_mesh(jax.devices()[:1])
    maker = BatchMaker(c, tokenizer, config.tokens_per_image)
    total = c.text_steps + c.see_steps + c.play_steps
    optimizer = step.make_optimizer(
        step.OptimizerConfig(c.learning_rate, total, c.warmup, c.weight_decay)
    )
    if c.start:
        start, params = load_model(find_shipped(c.start))
        params = jax.tree.map(lambda x: x.astype("float32"), params)
        params = grow(params, start, config, jax.random.key(c.seed))
    else:
        params = init_params(config, jax.random.key(c.seed))
    key = jax.random.key(c.seed)
    trainable = Trainable(frozen=tuple(c.frozen))
    trained, frozen = trainable.begin(params, key)
    state = step.init_state(trained, optimizer, mesh)
    update = step.make_train_step(
        config,
        optimizer,
        mesh,
        AugmentConfig(strength=c.augment),
        trainable.assemble,
    )

    def save():
        learned = trainable.assemble(frozen, state.params)
        write(output, config, learned, tokenizer, c, started)

    bar = tqdm(feed(maker, c, total), total=total, unit="step")
    for number, (batches, pixels) in enumerate(bar):
        state, metrics = update(state, frozen, batches, pixels, key)
        if number % 50 == 49:
            loss, right = float(metrics["loss"]), float(metrics["accuracy"])
            bar.set_postfix(loss=f"{loss:.3f}", right=f"{right:.3f}")
        if number % 500 == 499:
            save()
    save()


def feed(maker: BatchMaker, c, total: int):
    """Yields each step's (batches, pixels); the next is made meanwhile."""
    rng = np.random.default_rng(c.seed)

    kinds_of = [
        kinds
        for _, steps, kinds in phases(c, list(maker.kinds))
        for _ in range(steps)
    ]

    def make(number: int):
        # The last step makes one ready that is not taken.
        kinds = kinds_of[min(number, total - 1)]
        return zip(*[maker.make(rng, kind) for kind in kinds], strict=True)

    with futures.ThreadPoolExecutor(1) as pool:
        coming = pool.submit(make, 0)
        for number in range(total):
            made = coming.result()
            coming = pool.submit(make, number + 1)
            yield made


def write(output, config, params, tokenizer, c, started) -> None:
    """Writes model, tokenizer and a card that says how they were made."""
    save_model(output, config, params, c.dtype)
    tokenizer.hf.save_pretrained(output)
    device = jax.devices()[0]
    card = {
        "command": " ".join(["python", "-m", MODULE, *sys.argv[1:]]),
        "config": c.to_dict(),
        "seconds": round(time.time() - started),
        "hardware": f"{len(jax.devices())} x {device.device_kind}",
        "parameters": sum(x.size for x in jax.tree.leaves(params)),
    }
    path = pathlib.Path(output) / "card.json"
    path.write_text(json.dumps(card, indent=2) + "\n")


def tell(c) -> str:
    """What `train` would do by config `c`; no scene is drawn."""
    config = model_config(c.model, make_tokenizer(c))
    shapes = jax.eval_shape(lambda: init_params(config, jax.random.key(0)))
    count = sum(x.size for x in jax.tree.leaves(shapes))
    lengths = {"answer": c.answer_length, "task": c.task_length}
    lengths |= dict.fromkeys(("probe", "game"), c.game_length)
    lengths |= dict.fromkeys(("told", "record"), c.text_length)
    lengths["frame"] = c.answer_length
    lengths |= dict.fromkeys(("frame_probe", "frame_game"), c.game_length)
    lines, tokens = [], 0
    for phase, steps, kinds in phases(c, list(lengths)):
        rows = {kind: c[f"{kind}_rows"] for kind in kinds}
        tokens += steps * sum(n * lengths[kind] for kind, n in rows.items())
        said = ", ".join(f"{n} x {lengths[k]} of {k}" for k, n in rows.items())
        lines.append(f"  {phase}: {steps:,} steps of rows x tokens {said}")
    # Params, their gradients and two moments of AdamW, in float32.
    state = 4 * 4 * count / 2**30
    return "\n".join(
        [
            f"{count / 1e6:,.2f} million params from {c.start or 'scratch'}, "
            f"{c.scenes:,} labelled scenes:",
            *lines,
            f"{tokens / 1e6:,.1f} million tokens, pads and images among them; "
            f"{6e-12 * count * tokens:,.1f} TFLOP at most",
            f"{state:.2f} GiB of one device for params, gradients and "
            "optimizer; activations come on top",
        ]
    )


def main() -> None:
    c = flags.FLAGS.config
    if flags.FLAGS.dry_run:
        print(tell(c))
        return
    if flags.FLAGS.output is None:
        raise ValueError(
            "give --output, the directory to write the model to, or --dry_run."
        )
    train(c, flags.FLAGS.output)


if __name__ == "__main__":
    # Here, as vlm_games.export has a flag of the same name.
    command_line.define_config()
    flags.DEFINE_string("output", None, "Directory to write the model to.")
    flags.DEFINE_bool("dry_run", False, "Only tell what would be done.")
    command_line.run(main, ["config"])
