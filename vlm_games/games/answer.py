"""What a model says after any prompt about images, in large batches."""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from vlm_games.data.examples import Example, read
from vlm_games.data.packing import encode
from vlm_games.data.tokenizer import Tokenizer
from vlm_games.games.layout import bank_slots
from vlm_games.games.play import KEEP_ALL, Role
from vlm_games.models.vlm import no_image_tokens
from vlm_games.sampling.engine import Engine, Sampling, bucket, pad

ROWS = 128  # prompts at a time, on each device, if nothing else is said


@dataclasses.dataclass(frozen=True)
class Asked:
    """A prompt about an image, several, or none.

    Attributes:
      image: its number, those of several, or None.
      text: with `<image>` where each goes.
      draw: two numbers that, with the seed, fix what is drawn.
    """

    image: int | tuple[int, ...] | None
    text: str
    draw: tuple[int, int] = (0, 0)

    @property
    def images(self) -> tuple[int, ...]:
        """All of them, however many."""
        if isinstance(self.image, tuple):
            return self.image
        return () if self.image is None else (self.image,)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What was said.

    Attributes:
      text: the words. ended: whether they came to an end by themselves.
      log_prob: of the words, nats. tokens: how many were said.
    """

    text: str
    ended: bool
    log_prob: float
    tokens: int


def without_images(engine: Engine, params) -> Role:
    """Who answers prompts about no image."""
    whole = NamedSharding(engine.mesh, P())
    nothing = jax.device_put(no_image_tokens(engine.config), whole)
    return Role(params, nothing)


def answer(
    engine: Engine,
    tokenizer: Tokenizer,
    role: Role,
    prompts: Sequence[Asked],
    limit: int,
    temperature: float = 0.0,
    seed: tuple[int, ...] = (0,),
    rows: int = ROWS,
    told: Callable[[int], None] = lambda count: None,
) -> list[Answer]:
    """Answers to all prompts, in order.

    Args:
      role: who answers, and how it sees the images.
      limit: most tokens of an answer.
      temperature: 0 is greedy. seed: of the draws.
      rows: prompts at a time, on each device.
      told: how many are answered, after each batch.
    """
    examples = [Example(p.images, (read(p.text),)) for p in prompts]
    vocabulary = np.arange(engine.config.vocab_size)
    forbidden = vocabulary >= len(tokenizer.hf)
    forbidden[tokenizer.image_id] = True
    return go_on(
        engine,
        tokenizer,
        role,
        examples,
        [p.draw for p in prompts],
        Sampling(forbidden, seed),
        limit,
        temperature,
        rows,
        told=told,
    )


def go_on(
    engine: Engine,
    tokenizer: Tokenizer,
    role: Role,
    examples: Sequence[Example],
    draws: Sequence[tuple[int, int]],
    sampling: Sampling,
    limit: int,
    temperature: float,
    rows: int,
    room: int = 0,
    told: Callable[[int], None] = lambda count: None,
) -> list[Answer]:
    """What is said after each example, which may show any number of images.

    Args:
      examples: without branches. draws: two numbers of each, which with the
        seed fix what is drawn.
      sampling: seed, forbidden tokens [V] and truncation.
      limit, temperature, rows, told: see `answer`.
      room: tokens of the longest example to come; compiled for at once.
    """
    if not examples:
        return []
    encoded = [_encode(engine, tokenizer, example) for example in examples]
    longest = max(len(tokens) for tokens, _ in encoded)
    width, batch = bucket(max(longest, room)), rows * engine.shards
    numbers = np.array([*draws, *[(0, 0)] * batch], np.int32).T
    stop = np.arange(engine.config.vocab_size) == tokenizer.eos_id
    answers: list[Answer] = []
    for start in range(0, len(encoded), batch):
        part = encoded[start : start + batch]
        session = _read(engine, role, part, rows, width, limit)
        _, words = engine.turn(
            role.params,
            session,
            np.full(batch, KEEP_ALL),
            pad([()] * batch),
            numbers[0, start : start + batch],
            numbers[1, start : start + batch],
            np.arange(batch) < len(part),
            temperature,
            stop,
            sampling,
            limit,
        )
        words = jax.device_get(words)
        answers += [_answer(tokenizer, words, r) for r in range(len(part))]
        told(len(answers))
    return answers


def _answer(tokenizer: Tokenizer, words, row: int) -> Answer:
    """What was said in a row, from the host's copy of its words."""
    count = int(words.count[row])
    text = tokenizer.decode(words.tokens[row, :count])
    ended, log_prob = bool(words.stopped[row]), float(words.log_prob[row])
    return Answer(text, ended, log_prob, count)


def _read(engine: Engine, role: Role, part, rows: int, width: int, limit: int):
    """A session whose rows have read the prompts, with room to answer."""
    batch = rows * engine.shards
    empty = [((), ())] * (batch - len(part))
    tokens, slots = zip(*part, *empty, strict=True)
    ids = pad(tokens, width)
    places = np.full(ids[0].shape, -1, np.int32)
    for row, found in zip(places, slots, strict=True):
        row[: len(found)] = found
    return engine.admit(
        role.params,
        engine.init(batch, width + limit),
        np.tile(np.arange(rows, dtype=np.int32), engine.shards),
        ids,
        places,
        role.image_tokens,
    )


def _encode(engine: Engine, tokenizer: Tokenizer, example: Example):
    """(ids, slots into the image bank) of a prompt."""
    n = engine.config.tokens_per_image
    found = encode(example, tokenizer, n)
    return found.tokens, bank_slots(found, n)
