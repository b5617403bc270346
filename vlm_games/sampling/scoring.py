"""How probable given words are: the model reads them, nothing is sampled."""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from vlm_games.data.examples import Example
from vlm_games.data.packing import BatchShape, encode, pack
from vlm_games.data.tokenizer import Tokenizer
from vlm_games.models import vlm
from vlm_games.models.config import VLMConfig
from vlm_games.models.mesh import DATA, shard_batch
from vlm_games.models.packed import token_log_probs
from vlm_games.sampling.engine import round_up

LENGTHS = 32  # rows are padded to a multiple of it, so that few are compiled


@dataclasses.dataclass(frozen=True)
class Score:
    """Of the weighted words of one branch (or of a trunk without branches).

    Attributes:
      log_prob: summed over them, nats.
      greedy: whether each is the model's first choice: greedy decoding would
        say exactly these words.
    """

    log_prob: float
    greedy: bool


class Scorer:
    """Scores examples in fixed-shape batches, split over the mesh."""

    def __init__(
        self,
        config: VLMConfig,
        tokenizer: Tokenizer,
        mesh: Mesh,
        rows: int = 64,
    ):
        """`rows` per batch and shard of "data"."""
        self._tokenizer, self._tokens = tokenizer, config.tokens_per_image
        self._rows, self._shards = rows, mesh.shape[DATA]
        tokens_per_image = config.tokens_per_image

        def score(params, batch, bank_MxD):
            if not len(batch.images):
                images = vlm.no_image_tokens(config)
                return token_log_probs(config, params, batch, images)
            bank = bank_MxD.reshape(-1, tokens_per_image, bank_MxD.shape[-1])
            images = bank.at[batch.images].get(mode="clip")
            images = images.reshape(-1, bank_MxD.shape[-1])
            return token_log_probs(config, params, batch, images)

        data, whole = P(DATA), P()
        self._score = jax.jit(
            shard_batch(score, mesh, (whole, data, whole), data)
        )

    def score(
        self, params, image_tokens, examples: Sequence[Example]
    ) -> list[tuple[Score, ...]]:
        """Scores the weighted pieces of every example, branch by branch.

        Args:
          params: of the model. image_tokens: [M * T, D], from Engine.encode;
            the examples' image numbers count its images. None if they are
            of text alone.
          examples: any number.

        Returns:
          per example one Score per branch; one in all if it has none.
        """
        if not examples:
            return []
        encoded = [encode(e, self._tokenizer, self._tokens) for e in examples]
        longest = max(len(e.tokens) for e in encoded)
        length = round_up(longest, LENGTHS)
        images = max(len(e.images) for e in examples)
        shape = BatchShape(self._rows, length, self._rows * images)
        per_call = self._rows * self._shards
        scores = []
        for start in range(0, len(encoded), per_call):
            part = encoded[start : start + per_call]
            shards = [
                pack_one_per_row(part[i : i + self._rows], shape, self._tokens)
                for i in range(0, per_call, self._rows)
            ]
            batch = jax.tree.map(lambda *xs: np.concatenate(xs), *shards)
            found = self._score(params, batch, image_tokens)
            log_probs, correct = jax.device_get(found)
            scores += [
                branch_scores(e, log_probs[row], correct[row])
                for row, e in enumerate(part)
            ]
        return scores


def pack_one_per_row(encoded, shape: BatchShape, tokens_per_image: int):
    """A batch whose row i holds example i alone; the rest is padding."""
    rows = [
        pack([e], BatchShape(1, shape.length, shape.images // shape.rows), 0)[0]
        for e in encoded
    ]
    empty = pack(
        [], BatchShape(1, shape.length, shape.images // shape.rows), 0
    )[0]
    rows += [empty] * (shape.rows - len(rows))
    step = shape.images // shape.rows * tokens_per_image
    for i, row in enumerate(rows):
        slots = row.image_slots
        moved = np.where(slots >= 0, slots + i * step, -1)
        rows[i] = dataclasses.replace(row, image_slots=moved)
    return jax.tree.map(lambda *xs: np.concatenate(xs), *rows)


def branch_scores(encoded, log_probs, correct) -> tuple[Score, ...]:
    """Sums one row's [L - 1] results over the weighted tokens by branch."""
    n = len(encoded.tokens)
    weighted = encoded.weights[1:] > 0
    branches = encoded.branches[1:]
    names = sorted(set(encoded.branches.tolist()) - {0}) or [0]
    return tuple(
        Score(
            float(log_probs[: n - 1][weighted & (branches == b)].sum()),
            bool(correct[: n - 1][weighted & (branches == b)].all()),
        )
        for b in names
    )
