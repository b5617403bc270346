"""Sessions on every device: the jitted, donated, data-parallel face.

Each place along the mesh axis "data" runs its own loop over its own rows
(`jax.shard_map`, which is what `jax.pmap` has become) and exchanges nothing
with the others: no collective per token, none per turn. The devices that share
a model, along "tensor", exchange what its split params ask for.

Shapes are fixed by (rows, bucket of new tokens), so after the first turn of
each bucket nothing compiles.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from vlm_games.models import panels, vlm
from vlm_games.models.cache import Cache
from vlm_games.models.config import VLMConfig
from vlm_games.models.mesh import DATA, TENSOR, shard_batch
from vlm_games.sampling import session as sessions
from vlm_games.sampling.handover import Handed, HandOver, hand_over

ROOM = 128  # a row that may grow has room for a multiple of this
# Pairs of tokens in the openings that a CPU reads at once: what is computed of
# more has no room in its caches.
PAIRS = 1 << 18
MOST_CUT = 1 << 28  # numbers in a second copy of matrices: 1 GiB
BUCKETS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)


def bucket(length: int) -> int:
    """The smallest bucket that holds `length` tokens."""
    for size in BUCKETS:
        if length <= size:
            return size
    raise ValueError(
        f"{length} new tokens at once; the largest bucket is {BUCKETS[-1]}: "
        "shorten prompts, or take fewer or smaller images."
    )


def round_up(length: int, multiple: int) -> int:
    """The smallest multiple that is no less than `length`."""
    return -(-length // multiple) * multiple


def first_room(need: int, most: int) -> int:
    """Room of a row that begins with `need` tokens and may have `most`."""
    if most <= 2 * ROOM:  # little enough not to compile two sizes for it
        return most
    return min(round_up(need, ROOM), most)


def pad(
    rows: Sequence[Sequence[int]], least: int = 0, usual: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Ragged ids to (int32 [B, width], int32 [B] lengths).

    The width is a bucket, of at least `least` tokens; or `usual`, where that
    is narrower than the bucket and wide enough.
    """
    length = np.array([len(row) for row in rows], np.int32)
    longest = max(int(length.max(initial=0)), least)
    width = bucket(longest)
    if 0 < longest <= usual < width:
        width = usual
    tokens = np.zeros((len(rows), width), np.int32)
    for row, ids in zip(tokens, rows, strict=True):
        row[: len(ids)] = ids
    return tokens, length


def _on_host_or_device(active):
    """bool [B]; what is on a device stays there."""
    if isinstance(active, jax.Array):
        return active
    return np.asarray(active, bool)


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How words are drawn; fixed for the life of an engine.

    Attributes:
      forbidden: bool [V], or [K, V] for K kinds of row: tokens never said.
      seed: of all draws; a row's draws come from (seed, row id, turn id).
      truncation: of what is drawn from.
    """

    forbidden: np.ndarray
    seed: tuple[int, ...]
    truncation: sessions.Truncation = sessions.Truncation()


class Engine:
    """Compiled session functions for one architecture and mesh.

    Holds no params and no conversations: those are arguments and results.
    Arrays of rows are split over the mesh axis "data"; `rows` must be a
    multiple of its size. Row numbers given to `admit` count within a shard.
    """

    def __init__(self, config: VLMConfig, mesh: Mesh, images: int = 256):
        """`images` encoded at once, on all devices together."""
        self.config, self.mesh, self._images = config, mesh, images
        self.shards = mesh.shape[DATA]
        self._on_cpu = mesh.devices.flat[0].platform == "cpu"
        rows, whole = P(DATA), P()
        # Shardings stand where the session has arrays, hence Any.
        split: Any = NamedSharding(mesh, rows)
        # Of keys and values a device holds its own heads.
        heads: Any = NamedSharding(mesh, P(DATA, TENSOR))
        self._laid_out = sessions.Session(
            Cache(heads, split, split), split, split
        )

        def shard(function, in_specs, donate, laid_out):
            mapped = shard_batch(function, mesh, in_specs, rows)
            return jax.jit(
                mapped, donate_argnums=donate, out_shardings=laid_out
            )

        self._init = jax.jit(
            functools.partial(sessions.init_session, config),
            static_argnums=(0, 1),
            out_shardings=self._laid_out,
        )
        # A function of its own, or `compilations` would count other engines'.
        self._grow = jax.jit(
            functools.partial(sessions.grow),
            static_argnums=1,
            out_shardings=self._laid_out,
        )
        self._encode = shard(
            functools.partial(vlm.encode_images, config),
            (whole, rows),
            (),
            split,
        )
        self._admit = shard(
            functools.partial(
                sessions.admit, config, pairs=PAIRS if self._on_cpu else 0
            ),
            (whole, rows, rows, rows, rows, rows, whole),
            (1,),
            self._laid_out,
        )
        self._cut = jax.jit(
            functools.partial(panels.cut),
            out_shardings=NamedSharding(mesh, whole),
        )
        self._turns: dict[tuple, Callable] = {}
        self._handovers: dict[HandOver, Callable] = {}
        self._shard = shard

    def lay_out(self, params, rows: int):
        """Params as conversations of `rows` rows in all are best held with.

        On CPUs, where a device has few rows, with a second copy of the
        decoder's matrices, if that is small; see `models.panels`.
        """
        few = rows <= panels.ROWS * self.shards
        whole = self.mesh.shape[TENSOR] == 1
        float32 = self.config.dtype == "float32"
        if not (self._on_cpu and few and whole and float32):
            return params
        shapes = jax.tree.leaves(jax.eval_shape(panels.cut, params))
        if not 0 < sum(x.size for x in shapes) <= MOST_CUT:
            return params
        return panels.put(params, self._cut(params))

    def init(self, rows: int, capacity: int) -> sessions.Session:
        """Empty conversations, split over the mesh."""
        if rows % self.shards:
            raise ValueError(
                f"{rows} rows do not split over {self.shards} devices, or "
                f"groups of them that share a model: take a multiple of "
                f"{self.shards}."
            )
        return self._init(rows, capacity)

    def grow(self, session, need: int, most: int) -> sessions.Session:
        """The conversations with room for `need` tokens, and not much more.

        Attention costs what there is room for. Each new size is compiled once,
        so that rooms grow in steps, up to `most`.
        """
        held = session.cache.capacity
        if need <= held:
            return session
        room = round_up(max(need, held * 5 // 4), ROOM)
        return self._grow(session, min(room, most))

    def encode(self, params, pixels: np.ndarray, chunk: int | None = None):
        """Image tokens [N * T, D] of uint8 [N, H, W, 3], on every device."""
        if not len(pixels):
            raise ValueError(
                "There are no images to encode: give at least one."
            )
        chunk = max((chunk or self._images) // self.shards, 1) * self.shards
        parts = []
        for start in range(0, len(pixels), chunk):
            part = pixels[start : start + chunk]
            short = chunk - len(part)
            if short:
                part = np.concatenate([part, np.repeat(part[:1], short, 0)])
            parts.append(self._encode(params, part)[: chunk - short])
        tokens = jnp.concatenate(parts).reshape(-1, parts[0].shape[-1])
        return jax.device_put(tokens, NamedSharding(self.mesh, P()))

    def admit(self, params, session, rows, ids, slots, image_tokens):
        """Starts conversations; all arguments per newcomer, on the host.

        Args:
          rows: int32 [shards * R], row within its shard; out of range for
            an empty place.
          ids, slots: int32 [shards * R, L] padded tokens and image slots
            and their lengths, as ((tokens, lengths), slots).
          image_tokens: [M, D], from `encode`.
        """
        (tokens, lengths) = ids
        return self._admit(
            params, session, rows, tokens, lengths, slots, image_tokens
        )

    def turn(
        self,
        params,
        session,
        keep,
        ids,
        row_ids,
        turn_ids,
        active,
        temperature,
        stop,
        sampling: Sampling,
        limit: int,
        kinds=0,
    ):
        """Rows go back to `keep` tokens, read, and the active ones speak.

        Args:
          keep: int32 [B], tokens to keep (a large number keeps all).
          ids: (int32 [B, L], int32 [B]) from `pad`.
          row_ids, turn_ids: int32 [B], what the draws are made from.
          active: bool [B]. temperature: float. stop: bool [V].
          limit: most tokens said.
          kinds: int32 [B] or one for all, which row of `sampling.forbidden`
            holds.

        Returns:
          (session, Words), the words still on the device.
        """
        kind = limit, sampling.truncation
        if kind not in self._turns:
            self._turns[kind] = self._make_turn(*kind)
        tokens, lengths = ids
        return self._turns[kind](
            params,
            session,
            np.asarray(keep, np.int32),
            tokens,
            lengths,
            np.asarray(row_ids, np.int32),
            np.asarray(turn_ids, np.int32),
            _on_host_or_device(active),
            np.float32(temperature),
            stop,
            np.atleast_2d(sampling.forbidden),
            np.broadcast_to(np.asarray(kinds, np.int32), len(active)),
            np.asarray(sampling.seed, np.uint32),
        )

    def hand_over(self, words, active, how: HandOver) -> Handed:
        """What other rows read of `words`, still on the device.

        Args:
          active: bool [B], rows whose words are wanted.
        """
        if how not in self._handovers:
            self._handovers[how] = self._shard(
                functools.partial(hand_over, how=how),
                (P(DATA), P(DATA)),
                (),
                NamedSharding(self.mesh, P(DATA)),
            )
        return self._handovers[how](words, active)

    def _make_turn(self, limit: int, truncation: sessions.Truncation):
        config = self.config

        def turn(
            params,
            session,
            keep,
            tokens,
            lengths,
            row_ids,
            turn_ids,
            active,
            temperature,
            stop,
            forbidden,
            kinds,
            seed,
        ):
            key = jax.random.key(0)
            for i in range(seed.shape[0]):
                key = jax.random.fold_in(key, seed[i])

            def row_key(row, turn):
                return jax.random.fold_in(jax.random.fold_in(key, row), turn)

            session = sessions.rollback(session, keep)
            session = sessions.read_text(
                config, params, session, tokens, lengths
            )
            return sessions.speak(
                config,
                params,
                session,
                active,
                jax.vmap(row_key)(row_ids, turn_ids),
                temperature,
                stop,
                forbidden[kinds],
                limit,
                truncation,
            )

        rows, whole = P(DATA), P()
        return self._shard(
            turn,
            (whole, rows, *[rows] * 6, whole, whole, whole, rows, whole),
            (1,),
            (self._laid_out, NamedSharding(self.mesh, rows)),
        )

    def compilations(self) -> int:
        """How many programs were compiled so far."""
        compiled = [
            self._init,
            self._grow,
            self._encode,
            self._admit,
            self._cut,
            *self._turns.values(),
            *self._handovers.values(),
        ]
        return sum(f._cache_size() for f in compiled)
