"""Batches for fine-tuning: a pure function of (examples, seed, step).

Nothing is remembered between steps, so a resumed run feeds exactly what an
undisturbed one does.
"""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from vlm_games.data.examples import Example
from vlm_games.data.fetch import fetch
from vlm_games.data.packing import Batch, BatchShape, Encoded, encode, pack
from vlm_games.data.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Stream:
    """Examples that share a batch shape and an image bank.

    Attributes:
      name: of the stream, in messages.
      examples: at least one.
      images: the bank: anything that gives uint8 [H, W, 3] by index. None for
        text alone; `shape.images` is then 0.
      shape: of the micro-batch on one shard.
      augmented: whether its images are seen in random views.
    """

    name: str
    examples: Sequence[Example]
    images: Sequence[np.ndarray] | None
    shape: BatchShape
    augmented: bool = True


def draw(
    streams: Sequence[Stream],
    tokenizer: Tokenizer,
    tokens_per_image: int,
    shards: int,
    seed: tuple[int, ...],
    step: int,
    only: Sequence[int] | None = None,
) -> tuple[Batch, ...]:
    """One micro-batch of every stream, for all shards or `only` some.

    Examples come in epochs: step `s` goes on where step `s - 1` would have
    ended had every batch held one example per row.

    Raises:
      ValueError: an example is longer than a row of its stream.
    """
    batches = []
    for number, stream in enumerate(streams):
        parts = []
        for shard in range(shards) if only is None else only:
            at = (step * shards + shard) * stream.shape.rows
            order = _order(
                len(stream.examples),
                at,
                stream.shape.rows * 4,
                (*seed, number),
            )
            encoded = []
            used = 0
            for index in order:
                example = stream.examples[index]
                encoded.append(encode(example, tokenizer, tokens_per_image))
                _check_length(stream, encoded[-1])
                used += len(encoded[-1].tokens)
                if used > stream.shape.rows * stream.shape.length:
                    break
            parts.append(pack(encoded, stream.shape, tokens_per_image)[0])
        batch = jax.tree.map(lambda *xs: np.concatenate(xs), *parts)
        batches.append(batch)
    return tuple(batches)


def read_pixels(
    streams: Sequence[Stream],
    batches: Sequence[Batch],
    workers: int | None = None,
) -> tuple[np.ndarray, ...]:
    """uint8 [shards * M, H, W, 3] of each batch; [0, 1, 1, 3] of text alone.

    `workers` threads decode; see `data.fetch`.
    """
    return tuple(
        _pixels(stream, batch.images, workers)
        for stream, batch in zip(streams, batches, strict=True)
    )


def count_tokens(batches: Sequence[Batch]) -> int:
    """Tokens that are no padding, those of images included."""
    return sum(int(np.count_nonzero(batch.segments)) for batch in batches)


def _pixels(
    stream: Stream, images_M: np.ndarray, workers: int | None
) -> np.ndarray:
    """uint8 [M, H, W, 3]; [0, 1, 1, 3] if the stream has no images."""
    if not len(images_M):
        return np.zeros((0, 1, 1, 3), np.uint8)
    if stream.images is None:
        raise ValueError(
            f"Stream {stream.name!r} has room for {stream.shape.images} images "
            "a shard but no images to take them from: give it images, or a "
            "shape with images=0."
        )
    return fetch(stream.images, images_M, workers)


def _check_length(stream: Stream, encoded: Encoded) -> None:
    if len(encoded.tokens) > stream.shape.length:
        raise ValueError(
            f"An example of {stream.name!r} has {len(encoded.tokens)} tokens, "
            f"a row {stream.shape.length}: raise "
            f"config.train.lengths.{stream.name}."
        )


def _order(
    count: int, start: int, length: int, seed: tuple[int, ...]
) -> list[int]:
    """Places start .. start + length of an endless row of permutations."""
    found: list[int] = []
    while len(found) < length:
        epoch, offset = divmod(start + len(found), count)
        order = np.random.default_rng((*seed, epoch)).permutation(count)
        found += order[offset : offset + length - len(found)].tolist()
    return found
