"""Which images lie on the table in each game, and which one is the target.

Game g of an iteration depends on (seed, iteration, g) alone, so any game can
be made again by itself, in any order, on any machine.
"""

import dataclasses
import difflib
from collections.abc import Callable, Iterator, Sequence
from typing import overload

import numpy as np

from vlm_games.games.neighbours import nearest_images

KINDS = ("random", "similar", "clusters", "frames", "task")

# Keeps these draws apart from any other made from (seed, iteration, game).
_STREAM = 0x1A6E5E7


# Of a game's generator, and its place among the games: its images, the target
# first.
Draw = Callable[[np.random.Generator, int], list[int]]


@dataclasses.dataclass(frozen=True, slots=True)
class ImageSet:
    """The images of one game.

    Attributes:
      images: indices into the source, distinct, in the Guesser's order.
      target: position in `images` (not an index into the source) of the image
        that the Describer sees.
    """

    images: tuple[int, ...]
    target: int


class PackedSets(Sequence[ImageSet]):
    """Sets of equally many images, in a tenth of the memory."""

    def __init__(self, sets: Sequence[ImageSet]):
        images = [one.images for one in sets]
        self._images = np.array(images, np.int32)
        self._targets = np.array([one.target for one in sets], np.int16)

    def __len__(self) -> int:
        return len(self._targets)

    @overload
    def __getitem__(self, number: int) -> ImageSet: ...

    @overload
    def __getitem__(self, number: slice) -> list[ImageSet]: ...

    def __getitem__(self, number):
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        images = tuple(self._images[number].tolist())
        return ImageSet(images, int(self._targets[number]))


def draw_sets(
    *,
    kind: str,
    count: int,
    size: int,
    seed: int,
    iteration: int,
    total: int,
    first: int = 0,
    embeddings: np.ndarray | None = None,
    clusters: np.ndarray | None = None,
    frames: np.ndarray | None = None,
    steps: np.ndarray | None = None,
    tasks: np.ndarray | None = None,
    duplicates: np.ndarray | None = None,
    near_duplicate: float = 0.995,
    pool: int | None = None,
    search: str = "exact",
) -> list[ImageSet]:
    """The sets of games first, ..., first + count - 1.

    Images are shuffled and the target's position is uniform, in every kind.

    Args:
      kind: "random": distinct images, uniformly. "similar": a target and some
        of its nearest neighbours. "clusters": images of one cluster.
        "frames": `size` images that follow each other in one episode.
        "task": images of one task, of any of its episodes.
      count: number of games.
      size: images per game, at least 2.
      seed: non-negative; with iteration and game it fixes the set.
      iteration: non-negative.
      total: number n of images in the source.
      first: number of the first game.
      embeddings: [n, D] of any length, for "similar". Finite, no row zero.
      clusters: int [n] labels, for "clusters". A negative label is no
        cluster; clusters of fewer than `size` different images are skipped.
      frames: int [n] episodes, for "frames". A negative one is no episode;
        runs of fewer than `size` images of an episode are skipped.
      steps: int [n] places in the episodes. None: images are in their order.
      tasks: int [n], for "task"; as `clusters`.
      duplicates: int [n] groups of equal images. Two of
        one group are never in a set, of any kind. None: all images differ.
      near_duplicate: "similar" leaves out of the distractors what has a
        larger cosine than this with the target: nobody could tell them apart
        and the game could not be won.
      pool: "similar" draws the distractors among so many nearest neighbours;
        3 * (size - 1) where None.
      search: how they are found, see `neighbours.nearest_images`.

    Returns:
      `count` image sets. Arguments for other kinds are not looked at.

    Raises:
      ValueError: the request cannot be met; says what to change.
    """
    if kind not in KINDS:
        nearest = difflib.get_close_matches(str(kind), KINDS, 1, cutoff=0.0)
        raise ValueError(
            f"unknown kind of image sets {kind!r}; did you mean "
            f"{nearest[0] if nearest else KINDS[0]!r}? Known: "
            f"{', '.join(KINDS)}"
        )
    _check_numbers(count, size, seed, iteration, total, first)
    groups = np.arange(total)
    if duplicates is not None:
        groups = _labels("duplicates", duplicates, kind, total)

    def rngs() -> Iterator[np.random.Generator]:
        """Of each game, as it begins; a kilobyte is too much to hold them."""
        for game in range(first, first + count):
            yield np.random.default_rng((seed, iteration, game, _STREAM))

    draw: Draw
    if kind == "random":
        draw = _draw_random(size, groups)
    elif kind == "similar":
        pool = 3 * (size - 1) if pool is None else pool
        vectors = _vectors(embeddings, total)
        draw = _draw_similar(
            rngs(), size, groups, vectors, near_duplicate, pool, search
        )
    elif kind == "clusters":
        labels = _labels("clusters", clusters, kind, total)
        draw = _draw_clusters(size, groups, labels, kind)
    elif kind == "task":
        labels = _labels("tasks", tasks, kind, total)
        draw = _draw_clusters(size, groups, labels, kind)
    else:
        episodes = _labels("frames", frames, kind, total)
        order = np.arange(total)
        if steps is not None:
            steps = _labels("steps", steps, kind, total)
            order = np.lexsort((order, steps, episodes))
        draw = _draw_frames(size, groups, episodes, order)
    return [
        _shuffled(rng, draw(rng, place)) for place, rng in enumerate(rngs())
    ]


def draw_set(game: int, **options) -> ImageSet:
    """The set of one game; `options` as of `draw_sets`, no count nor first."""
    return draw_sets(first=game, count=1, **options)[0]


# Each of these returns what draws a game's images.


def _draw_random(size, groups) -> Draw:
    different = len(np.unique(groups))
    if different < size:
        raise ValueError(
            f"a game needs {size} different images and the source has only "
            f"{different} (the rest are exact copies); give more images or a "
            "smaller size"
        )
    everything = np.arange(len(groups))
    return lambda rng, place: _fill(rng, [], everything, groups, size)


def _draw_similar(
    rngs, size, groups, embeddings, near_duplicate, pool, search
) -> Draw:
    if pool < size - 1:
        raise ValueError(
            f"pool = {pool} neighbours cannot give the {size - 1} distractors "
            f"of a game of {size} images; give at least {size - 1}"
        )
    if not -1 < near_duplicate <= 1:
        raise ValueError(
            f"near_duplicate = {near_duplicate} is no cosine; give a number "
            "above -1 and up to 1 (1 leaves nothing out)"
        )
    n = len(embeddings)
    targets = np.array([rng.integers(n) for rng in rngs], np.int64)
    neighbours = nearest_images(
        targets,
        embeddings,
        min(pool, n - 1),
        near_duplicate=near_duplicate,
        groups=groups,
        search=search,
    )

    def draw(rng, place):
        target, row = rng.integers(n), neighbours[place]  # as in `targets`
        near = row[row >= 0]
        if len(near) < size - 1:
            raise ValueError(
                f"image {target} needs {size - 1} distractors and only "
                f"{len(near)} of {n - 1} images have a cosine of at most "
                f"{near_duplicate} with it and are no exact copies; raise "
                "near_duplicate, centre the embeddings or give more images"
            )
        return _fill(rng, [int(target)], near, groups, size)

    return draw


def _draw_clusters(size, groups, labels, kind) -> Draw:
    # Copies count once: (cluster, group) pairs, then pairs per cluster.
    pairs = np.unique(np.stack([labels, groups]), axis=1)
    names, counts = np.unique(pairs[0][pairs[0] >= 0], return_counts=True)
    anchors = np.flatnonzero(np.isin(labels, names[counts >= size]))
    if not len(anchors):
        raise ValueError(
            f"sets of kind {kind!r}: none of {len(names)} groups of images "
            f"has {size} different ones (the largest has "
            f"{counts.max(initial=0)}); give images with that metadata, fewer "
            "groups, or a smaller size"
        )

    def draw(rng, place):
        anchor = int(rng.choice(anchors))
        members = np.flatnonzero(labels == labels[anchor])
        return _fill(rng, [anchor], members, groups, size)

    return draw


def _draw_frames(size, groups, episodes, order) -> Draw:
    def windows(values):
        return np.lib.stride_tricks.sliding_window_view(values[order], size)

    seen = windows(episodes)
    whole = (seen == seen[:, :1]).all(axis=1) & (seen[:, 0] >= 0)
    starts = np.flatnonzero(whole)
    copies = np.sort(windows(groups)[starts])
    starts = starts[(np.diff(copies) > 0).all(axis=1)]
    if not len(starts):
        raise ValueError(
            f"no episode has {size} different images in a row "
            f"({whole.sum()} places have {size} images in a row, all with "
            "exact copies among them); give longer episodes or a smaller size"
        )
    places = np.arange(size)
    return lambda rng, place: order[
        rng.permutation(rng.choice(starts) + places)
    ].tolist()


def _fill(rng, images, candidates, groups, size):
    """Adds candidates up to `size`, each uniform among those of new groups."""
    images = list(images)
    while len(images) < size:
        choice = rng.choice(candidates)
        if (groups[images] == groups[choice]).any():
            # Only now look at them all; a second draw keeps it uniform.
            taken = np.isin(groups[candidates], groups[images])
            choice = rng.choice(candidates[~taken])
        images.append(int(choice))
    return images


def _shuffled(rng, images):
    """Set of `images`, given with the target first, in the Guesser's order."""
    order = rng.permutation(len(images)).tolist()
    return ImageSet(tuple(images[i] for i in order), order.index(0))


def _check_numbers(count, size, seed, iteration, total, first):
    if size < 2:
        raise ValueError(f"a game needs at least 2 images; got size = {size}")
    if size > total:
        raise ValueError(
            f"a game of {size} images cannot be drawn from {total}; give more "
            "images or a smaller size"
        )
    numbers = dict(count=count, seed=seed, iteration=iteration, first=first)
    for name, number in numbers.items():
        if number < 0:
            raise ValueError(f"{name} must not be negative; got {number}")


def _vectors(embeddings, total):
    if embeddings is None:
        raise ValueError(
            f"kind 'similar' needs embeddings [{total}, D]; got none"
        )
    embeddings = np.asarray(embeddings)
    if embeddings.ndim != 2 or len(embeddings) != total:
        raise ValueError(
            f"embeddings must be [{total}, D], a row per image; got "
            f"{list(embeddings.shape)}"
        )
    return embeddings


def _labels(name, labels, kind, total):
    if labels is None:
        raise ValueError(
            f"kind {kind!r} needs {name}, an int [{total}]; got none"
        )
    labels = np.asarray(labels)
    if labels.shape != (total,) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"{name} must be an int [{total}], one per image; got "
            f"{labels.dtype} {list(labels.shape)}"
        )
    return labels.astype(np.int64)
