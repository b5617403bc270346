"""Nearest neighbours by cosine: an exact search, as a matrix product.

    embeddings --unit, float32--> blocks of cosines on the device
                                        |  a few candidates more than wanted
                                        v
                    cosines again in float64: order, near-duplicates
                                        |
                    is what was left out certainly further? else by definition

float32 alone would take one of two nearly equal neighbours, and another one on
another device. A row's result is proven, or searched in float64.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

# Cosines are compared in billionths. A matrix product differs in its last bits
# with the shape of its block, and a game must not.
_GRID = 10**9
_INDICES = 2**32  # room for the index of an image below its cosine in a key
_BARRED = np.iinfo(np.int64).min + 1  # below every key
_BLOCK = 2048  # rows of a float64 product: a tile of cosines takes 32 MiB
_SMALL = 2**24  # cosines that are not worth compiling a program for
_CELLS = 2**26  # cosines on the device at once: 256 MiB
_RUN = 32  # columns of which the device compares the largest first
_SPARE = 16  # candidates beyond the wanted ones


def nearest_images(
    anchors: np.ndarray,
    embeddings: np.ndarray,
    pool: int,
    *,
    near_duplicate: float = 0.995,
    groups: np.ndarray | None = None,
    search: str = "exact",
) -> np.ndarray:
    """The nearest neighbours of some images among all.

    Args:
      anchors: int [A] indices of images.
      embeddings: [n, D], of any length. Finite, no row zero.
      pool: neighbours per anchor.
      near_duplicate: images with a larger cosine are left out.
      groups: int [n] groups of equal images: the anchor's own is left out, and
        the first image stands for each other one. None: all images differ.
      search: "exact", or "faiss": an index that may miss some (extra `faiss`).

    Returns:
      int64 [A, pool] indices, nearest first, the lower index first where
      cosines agree to nine digits; -1 where there are no more.

    Raises:
      ValueError: an embedding of length zero, or not finite; faiss is wanted
        and not installed.
    """
    anchors, n = np.asarray(anchors, np.int64), len(embeddings)
    groups = np.arange(n) if groups is None else np.asarray(groups)
    stands = np.zeros(n, bool)
    stands[np.unique(groups, return_index=True)[1]] = True
    wanted = (embeddings, groups, stands, round(near_duplicate * _GRID), pool)
    if search == "faiss":
        return _by_index(anchors, *wanted)
    if len(anchors) * n <= _SMALL or n <= _RUN * (pool + _SPARE):
        return _by_definition(anchors, *wanted)
    found, proven = _by_device(anchors, *wanted)
    rest = np.flatnonzero(~proven)
    found[rest] = _by_definition(anchors[rest], *wanted)
    return found


def _by_definition(anchors, embeddings, groups, stands, limit, pool):
    """All cosines in float64, 2048 by 2048 at a time."""
    found = np.full((len(anchors), pool), -1, np.int64)
    for row in range(0, len(anchors), _BLOCK):
        mine = anchors[row : row + _BLOCK]
        queries = _unit(embeddings, mine)
        best = np.full((len(mine), pool), _BARRED)
        for column in range(0, len(embeddings), _BLOCK):
            theirs = np.arange(column, min(column + _BLOCK, len(embeddings)))
            cosines = queries @ _unit(embeddings, theirs).T
            keys = np.rint(cosines * _GRID).astype(np.int64)
            barred = (keys > limit) | ~stands[theirs]
            barred |= groups[mine][:, None] == groups[theirs]
            best = np.concatenate([best, _ranked(keys, theirs, barred)], axis=1)
            best = np.partition(best, -pool, axis=1)[:, -pool:]
        found[row : row + _BLOCK] = _indices(np.sort(best, axis=1)[:, ::-1])
    return found


def _by_device(anchors, embeddings, groups, stands, limit, pool):
    """(int64 [A, pool] as `nearest_images`, bool [A] of what is proven)."""
    n, width = embeddings.shape
    padded = -(-n // _RUN) * _RUN
    on_host = np.zeros((padded, width), np.float32)
    for row in range(0, n, _BLOCK):
        block = np.arange(row, min(row + _BLOCK, n))
        on_host[block] = _unit(embeddings, block)
    unit = jnp.asarray(on_host)
    # Numbers of groups beyond all others for the padding.
    labels = jnp.asarray(np.append(groups, np.full(padded - n, -1)))
    open_ = jnp.asarray(np.append(stands, np.zeros(padded - n, bool)))
    # The most that rounding can do to a product of unit vectors, twice over.
    error = (width + 16) * 2.0**-23
    rows = max(8, min(512, _CELLS // padded))
    found = np.full((len(anchors), pool), -1, np.int64)
    proven = np.zeros(len(anchors), bool)
    for row in range(0, len(anchors), rows):
        mine = anchors[row : row + rows]
        asked = np.resize(mine, rows)  # one shape: compiled once
        cosines, near = jax.device_get(
            _candidates(
                unit, labels, open_, asked, limit / _GRID + error, pool + _SPARE
            )
        )
        some = slice(row, row + len(mine))
        found[some], proven[some] = _decide(
            mine, near, cosines, embeddings, limit, pool, error
        )
    return found, proven


def _by_index(anchors, embeddings, groups, stands, limit, pool):
    """As `_by_definition`, among the candidates that an index finds."""
    try:
        import faiss
    except ImportError as error:
        raise ValueError(
            "config.game.search='faiss' needs the library: install it with "
            "pip install 'vlm_games[faiss]', or take 'exact'."
        ) from error
    n, width = embeddings.shape
    unit = np.concatenate(
        [
            _unit(embeddings, np.arange(row, min(row + _BLOCK, n)))
            for row in range(0, n, _BLOCK)
        ],
        dtype=np.float32,
    )
    cells = max(1, int(n**0.5))
    index = faiss.index_factory(
        width, f"IVF{cells},Flat", faiss.METRIC_INNER_PRODUCT
    )
    # As many as its k-means looks at; by chance, whatever the order is.
    sample = np.random.default_rng(0).permutation(n)[: 64 * cells]
    index.train(unit[sample])
    index.add(unit)
    faiss.extract_index_ivf(index).nprobe = max(8, cells // 16)
    found = np.full((len(anchors), pool), -1, np.int64)
    for row in range(0, len(anchors), _BLOCK):
        mine = anchors[row : row + _BLOCK]
        cosines, near = index.search(unit[mine], min(4 * (pool + _SPARE), n))
        barred = (near < 0) | ~stands[near]
        barred |= groups[mine][:, None] == groups[near]
        cosines[barred] = -np.inf
        found[row : row + _BLOCK], _ = _decide(
            mine, np.maximum(near, 0), cosines, embeddings, limit, pool, 0.0
        )
    return found


@functools.partial(jax.jit, static_argnums=5)
def _candidates(unit_NxD, groups_N, stands_N, rows_R, limit, count: int):
    """(float32 [R, count] cosines, int32 [R, count] images), nearest first.

    The largest of all are in the runs of columns whose largest are largest.
    """
    cosines = jax.lax.dot_general(
        unit_NxD[rows_R],
        unit_NxD,
        (((1,), (1,)), ((), ())),
        precision=jax.lax.Precision.HIGHEST,
    )
    barred = ~stands_N | (groups_N[rows_R][:, None] == groups_N)
    cosines = jnp.where(barred | (cosines > limit), -jnp.inf, cosines)
    runs = cosines.reshape(len(rows_R), -1, _RUN)
    _, best = jax.lax.top_k(runs.max(axis=-1), count)
    some = jnp.take_along_axis(runs, best[..., None], axis=1)
    found, place = jax.lax.top_k(some.reshape(len(rows_R), -1), count)
    run = jnp.take_along_axis(best, place // _RUN, axis=1)
    return found, run * _RUN + place % _RUN


def _decide(mine, near_RxK, cosines_RxK, embeddings, limit, pool, error):
    """Order of the candidates in float64, and which rows are proven by it."""
    near, cosines = near_RxK[: len(mine)], cosines_RxK[: len(mine)]
    none = np.isneginf(cosines)
    theirs = _unit(embeddings, near.ravel()).reshape(*near.shape, -1)
    exact = np.einsum("rd,rkd->rk", _unit(embeddings, mine), theirs)
    keys = np.rint(exact * _GRID).astype(np.int64)
    ranked = _ranked(keys, near.astype(np.int64), none | (keys > limit))
    ranked = np.sort(ranked, axis=1)[:, ::-1]
    # Nothing that was left out has a larger cosine than this.
    floor = np.where(none[:, -1], -np.inf, cosines[:, -1] + error)
    last = ranked[:, pool - 1]
    least = np.where(last == _BARRED, -np.inf, -(-last // _INDICES) / _GRID)
    proven = none[:, -1] | (least > floor)
    return _indices(ranked[:, :pool]), proven


def _ranked(keys, indices, barred):
    """One integer, cosine above and index below: all differ, whatever blocks
    they are compared in."""
    return np.where(barred, _BARRED, keys * _INDICES - indices)


def _indices(ranked):
    return np.where(ranked == _BARRED, -1, -ranked % _INDICES)


def _unit(embeddings, indices):
    """float64 [len(indices), D] rows of length 1."""
    rows = np.asarray(embeddings[indices], np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    bad = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
    if len(bad):
        raise ValueError(
            f"the embedding of image {indices[bad[0]]} has length "
            f"{lengths[bad[0], 0]}; a cosine needs finite rows that are not "
            "zero"
        )
    return rows / lengths
