"""What a model says after any prompt about images, in large batches."""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from vlm_games.data.examples import Example, read
from vlm_games.data.packing import encode
from vlm_games.data.tokenizer import Tokenizer
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
) -> list[Answer]:
    """Answers to all prompts, in order.

    Args:
      role: who answers, and how it sees the images.
      limit: most tokens of an answer.
      temperature: 0 is greedy. seed: of the draws.
      rows: prompts at a time, on each device.
    """
    if not prompts:
        return []
    encoded = [_encode(engine, tokenizer, prompt) for prompt in prompts]
    longest = max(len(tokens) for tokens, _ in encoded)
    width, batch = bucket(longest), rows * engine.shards
    draws = np.zeros((2, len(encoded) + batch), np.int32)
    draws[:, : len(encoded)] = np.array([p.draw for p in prompts]).T
    vocabulary = np.arange(engine.config.vocab_size)
    forbidden = vocabulary >= len(tokenizer.hf)
    forbidden[tokenizer.image_id] = True
    answers: list[Answer] = []
    for start in range(0, len(encoded), batch):
        part = encoded[start : start + batch]
        empty = [((), ())] * (batch - len(part))
        tokens, slots = zip(*part, *empty, strict=True)
        ids = pad(tokens, width)
        places = np.full(ids[0].shape, -1, np.int32)
        for row, found in zip(places, slots, strict=True):
            row[: len(found)] = found
        session = engine.admit(
            role.params,
            engine.init(batch, width + limit),
            np.tile(np.arange(rows, dtype=np.int32), engine.shards),
            ids,
            places,
            role.image_tokens,
        )
        _, words = engine.turn(
            role.params,
            session,
            np.full(batch, KEEP_ALL),
            pad([()] * batch),
            draws[0, start : start + batch],
            draws[1, start : start + batch],
            np.arange(batch) < len(part),
            temperature,
            vocabulary == tokenizer.eos_id,
            Sampling(forbidden, seed),
            limit,
        )
        words = jax.device_get(words)
        for row in range(len(part)):
            said = tokenizer.decode(words.tokens[row, : words.count[row]])
            ended, log_prob = words.stopped[row], words.log_prob[row]
            count = int(words.count[row])
            answers.append(Answer(said, bool(ended), float(log_prob), count))
    return answers


def _encode(engine: Engine, tokenizer: Tokenizer, prompt: Asked):
    """(ids, slots into the image bank) of a prompt."""
    n = engine.config.tokens_per_image
    images = prompt.image
    if not isinstance(images, tuple):
        images = () if images is None else (images,)
    found = encode(Example(images, (read(prompt.text),)), tokenizer, n)
    slots = found.image_slots
    # From counting within the prompt to counting in the bank.
    bank = np.array([i * n + t for i in images for t in range(n)], int)
    bank = np.append(bank, -1)  # what -1, a word, looks up
    return found.tokens, bank[slots]
