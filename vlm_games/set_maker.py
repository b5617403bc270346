"""The image sets of a run: drawn, or read from the file that they are kept in.

config.game --------+
what is known of ---+--> draw_sets --> config.game.set_file, if one is named
the images          |                            |
embeddings, if -----+                            v
sets are similar                       sets of an iteration's games
"""

import dataclasses
import functools
import hashlib
import io
import pathlib
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from vlm_games.data import atomic
from vlm_games.data.fetch import pieces
from vlm_games.data.images import ImageSource
from vlm_games.games.image_sets import ImageSet, draw_sets
from vlm_games.games.set_file import read_sets, take, write_sets
from vlm_games.hub.tower import load_tower
from vlm_games.sampling.engine import Engine

Embed = Callable[[np.ndarray], np.ndarray]  # uint8 [N, H, W, 3] to [N, D]


@dataclasses.dataclass(frozen=True)
class SetMaker:
    """Sets of images for games, the same whoever asks and whenever.

    Attributes:
      config: the run's ConfigDict. images: to play on.
      engine, params, digest: of the base, whose tower tells what is similar.
    """

    config: ConfigDict
    images: ImageSource
    engine: Engine
    params: Any
    digest: str

    def draw(self, iteration: int, first: int, count: int) -> list[ImageSet]:
        """Sets of the games first, ..., first + count - 1 of an iteration.

        Raises:
          ValueError: the images or the file cannot give them.
        """
        if not self.config.game.set_file:
            return self._draw(iteration, first, count)
        start = (iteration - 1) * self.config.game.games
        path = self.config.game.set_file
        return take(self._of_file, start + first, count, path)

    def _draw(self, iteration: int, first: int, count: int) -> list[ImageSet]:
        c, groups = self.config.game, self.images.groups
        return draw_sets(
            kind=c.sets,
            count=count,
            first=first,
            size=c.images,
            seed=self.config.seed,
            iteration=iteration,
            total=len(self.images),
            embeddings=self._embeddings if c.sets == "similar" else None,
            clusters=groups.clusters,
            frames=groups.episodes,
            steps=groups.steps,
            tasks=groups.tasks,
            duplicates=groups.duplicates,
            near_duplicate=c.near_duplicate,
            pool=c.pool or None,
            search=c.search,
        )

    @functools.cached_property
    def _of_file(self) -> list[ImageSet]:
        """All sets of the file, which is written first if it is not there."""
        c, names = self.config.game, self.images.names
        if not pathlib.Path(c.set_file).exists():
            drawn = [
                one
                for iteration in range(1, self.config.iterations + 1)
                for one in self._draw(iteration, 0, c.games)
            ]
            made = {
                "kind": c.sets,
                "size": c.images,
                "seed": self.config.seed,
                "of": self.config.images or "rendered target scenes",
            }
            if c.sets == "similar":
                made |= {
                    "embedder": c.embedder or self.config.base or "shipped",
                    "near_duplicate": c.near_duplicate,
                }
            write_sets(c.set_file, drawn, names, made)
        return read_sets(c.set_file, names, c.images)

    @functools.cached_property
    def _embeddings(self) -> np.ndarray:
        """float32 [n, D] of all images, their mean taken away."""
        c = self.config
        embed: Embed
        if c.game.embedder:
            tower = load_tower(c.game.embedder)
            embed, digest = tower.embed, tower.digest
        else:
            embed = mean_tokens(self.engine, self.params)
            digest = self.digest
        make = functools.partial(
            embed_all, embed, self.images, c.encode_images, c.image_workers
        )
        if not c.image_cache:
            return make()
        key = f"{self.images.digest()} {digest} {c.dtype}"
        name = hashlib.sha256(key.encode()).hexdigest()[:32]
        path = pathlib.Path(c.image_cache).expanduser() / f"{name}.npy"
        if not path.exists():
            content = io.BytesIO()
            np.save(content, make(), allow_pickle=False)
            atomic.write_bytes(path, content.getvalue())
        return np.load(path, allow_pickle=False)


def embed_all(
    embed: Embed, images: ImageSource, size: int, workers: int | None
) -> np.ndarray:
    """float32 [n, D] of all images, less their mean; `size` at a time."""
    found = []
    for pixels in pieces(images, range(len(images)), size, workers):
        short = size - len(pixels)  # one shape: compiled once
        whole = np.concatenate([pixels, pixels[:1].repeat(short, 0)])
        found.append(np.asarray(embed(whole), np.float32)[: len(pixels)])
    embeddings = np.concatenate(found)
    return embeddings - embeddings.mean(axis=0)


def mean_tokens(engine: Engine, params) -> Embed:
    """Embeds an image as the mean of its tokens, as a model sees them."""

    def embed(pixels):
        tokens = engine.encode(params, pixels)
        tokens = tokens.reshape(len(pixels), -1, tokens.shape[-1])
        return jnp.mean(tokens.astype(jnp.float32), axis=1)

    return embed
