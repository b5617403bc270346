"""Examples to fixed-shape batches: encode, pack several to a row, pad.

See `models.packed.attention_mask`: a token attends to an earlier one of its
own segment (example) if that one is in the trunk (branch 0) or in its own
branch:

    segment   1 1 1 1 1 1 1 1   2 2 2 2 2   0 0      0 is padding
    branch    0 0 0 1 1 1 2 2   0 0 0 1 1   0 0
    position  0 1 2 3 4 5 3 4   0 1 2 3 4   0 0      branches restart
"""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from vlm_games.data.examples import Example
from vlm_games.data.tokenizer import Tokenizer

# What a batch has as an example has it.
COPIED = ("tokens", "positions", "branches", "weights", "reference")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
    """Packed rows. B rows of L tokens; M images.

    Attributes:
      tokens: int32 [B, L].
      positions: int32 [B, L], rotary positions within the example.
      segments: int32 [B, L], which example, from 1; 0 is padding.
      branches: int32 [B, L], which branch of it, from 1; 0 is the trunk.
      weights: float32 [B, L], weight of the loss on predicting this token.
      reference: float32 [B, L], on the first learned token of a branch the
        log-probability, nats, of all its learned words under a reference
        model; 0 elsewhere.
      image_slots: int32 [B, L], image token (image * T + t) here, or -1.
      images: int32 [M], index of each image in its bank (0 where padded).
    """

    tokens: np.ndarray
    positions: np.ndarray
    segments: np.ndarray
    branches: np.ndarray
    weights: np.ndarray
    reference: np.ndarray
    image_slots: np.ndarray
    images: np.ndarray


@dataclasses.dataclass(frozen=True)
class BatchShape:
    """Fixed sizes of a batch, so that the step compiles once.

    Attributes:
      rows: B. length: L. images: M, over all rows.
    """

    rows: int
    length: int
    images: int


@dataclasses.dataclass(frozen=True)
class Encoded:
    """One example in tokens; each array is [n]."""

    tokens: np.ndarray
    positions: np.ndarray
    branches: np.ndarray
    weights: np.ndarray
    reference: np.ndarray
    image_slots: np.ndarray  # counted within this example
    images: tuple[int, ...]


def encode(
    example: Example, tokenizer: Tokenizer, tokens_per_image: int
) -> Encoded:
    """Tokenizes an example and expands its image placeholders.

    Raises:
      ValueError: placeholders and images differ in number; references and
        branches do, or a branch with a reference has no learned word; or the
        trunk or a branch begins with a learned word, which the token before
        it in the row, being of another text, cannot predict.
    """
    tokens: list[int] = []
    positions: list[int] = []
    branches: list[int] = []
    weights: list[float] = []
    slots: list[int] = []
    next_slot = 0

    def read(pieces, branch, start):
        nonlocal next_slot
        at, first = start, len(tokens)
        for piece in pieces:
            for token in tokenizer.encode(piece.text):
                is_image = token == tokenizer.image_id
                repeat = tokens_per_image if is_image else 1
                for _ in range(repeat):
                    tokens.append(token)
                    positions.append(at)
                    branches.append(branch)
                    weights.append(0.0 if is_image else piece.weight)
                    slots.append(next_slot if is_image else -1)
                    next_slot += is_image
                    at += 1
        if len(tokens) > first and weights[first]:
            text = " ".join(piece.text for piece in pieces)
            raise ValueError(
                f"A {'branch' if branch else 'trunk'} begins with a learned "
                f"word (weight {weights[first]}): {text[:60]!r}. Begin it "
                "with words of weight 0, from which that word follows."
            )
        return at

    end = read(example.trunk, 0, 0)
    for number, pieces in enumerate(example.branches, start=1):
        read(pieces, number, end)
    if next_slot != tokens_per_image * len(example.images):
        raise ValueError(
            f"An example has {next_slot // tokens_per_image} <image> places "
            f"for {len(example.images)} images."
        )
    branch_of, weight_of = np.array(branches, np.int32), np.array(weights)
    return Encoded(
        np.array(tokens, np.int32),
        np.array(positions, np.int32),
        branch_of,
        weight_of.astype(np.float32),
        _place_references(example, branch_of, weight_of),
        np.array(slots, np.int32),
        example.images,
    )


def _place_references(example, branches_n, weights_n) -> np.ndarray:
    """float32 [n]: each branch's reference on its first learned token."""
    placed = np.zeros(len(branches_n), np.float32)
    found, expected = len(example.reference), len(example.branches)
    if found and found != expected:
        raise ValueError(
            f"An example has {found} references for {expected} branches. "
            "Give one log-probability per branch, or none at all."
        )
    for branch, log_prob in enumerate(example.reference, start=1):
        learned = np.flatnonzero((branches_n == branch) & (weights_n > 0))
        if not len(learned):
            raise ValueError(
                f"Branch {branch} of an example has the reference {log_prob} "
                "but no learned words (weight above 0) that it could be of."
            )
        placed[learned[0]] = log_prob
    return placed


def pack(
    encoded: Sequence[Encoded], shape: BatchShape, tokens_per_image: int
) -> tuple[Batch, int]:
    """Packs as many of `encoded`, in order, as fit into one batch.

    Returns:
      (batch, number of examples used).

    Raises:
      ValueError: the first example alone does not fit.
    """
    b, length = shape.rows, shape.length
    fields = {
        name: np.zeros((b, length), dtype)
        for name, dtype in [
            ("tokens", np.int32),
            ("positions", np.int32),
            ("segments", np.int32),
            ("branches", np.int32),
            ("weights", np.float32),
            ("reference", np.float32),
            ("image_slots", np.int32),
        ]
    }
    fields["image_slots"][:] = -1
    images = np.zeros((shape.images,), np.int32)
    row, column, segment, image, used = 0, 0, 0, 0, 0
    for example in encoded:
        n, m = len(example.tokens), len(example.images)
        if column + n > length:
            row, column, segment = row + 1, 0, 0
        if n > length or row >= b or image + m > shape.images:
            break
        at = (row, slice(column, column + n))
        segment += 1
        fields["segments"][at] = segment
        for name in COPIED:
            fields[name][at] = getattr(example, name)
        slots = example.image_slots
        offset = image * tokens_per_image
        fields["image_slots"][at] = np.where(slots >= 0, slots + offset, -1)
        images[image : image + m] = example.images
        column, image, used = column + n, image + m, used + 1
    if not used and encoded:
        raise ValueError(
            f"An example of {len(encoded[0].tokens)} tokens and "
            f"{len(encoded[0].images)} images does not fit a row of {length} "
            f"tokens and {shape.images} images: raise the row length."
        )
    return Batch(**fields, images=images), used
