"""Images cut into tiles: which tokens of which tile make up an image.

Tile 0 is the whole image, made small. The other tiles are cut from the image
at a better resolution, padded onto a grid. Their tokens are laid out as they
lie in the image; those of padding (.) are dropped, and each row ends in a
newline (/):

    +---+       +---+---+
    | 0 |       |.1.|.2.|         0 0 0 0  1 1 2 2 /  3 3 4 4 /
    +---+       +---+---+   ->
                |.3.|.4.|
                +---+---+

Source: LLaVA-NeXT's "anyres" and "spatial_unpad"; shrinking is
LLaVA-OneVision's (arXiv 2408.03326).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vlm_games.hub import pictures
from vlm_games.hub.family import NEWLINE, Picture
from vlm_games.models.config import VLMConfig

SHRINK = 1.1  # images that would shrink by less keep all their tokens


def read(
    config: VLMConfig,
    fields: Mapping[str, Any],
    found: Mapping[str, Any],
    tiled: Sequence[bool],
    most: int | None = None,
) -> list[Picture]:
    """One picture per image.

    Args:
      fields: config.json, with "image_grid_pinpoints".
      found: "pixel_values" [images, tiles, 3, H, W], padded to the most tiles;
        "image_sizes" [images, 2], height and width before processing.
      tiled: per image, whether it is cut; else it is one tile and a newline.
      most: see `tokens_of_tiles`.

    Raises:
      ValueError: the processor cut an image into fewer tiles than the model
        expects.
    """
    vision, result = config.vision, []
    for pixels, size, cut in zip(
        found["pixel_values"], found["image_sizes"], tiled, strict=True
    ):
        size, grid = (int(size[0]), int(size[1])), (0, 0)
        if cut:
            best = best_resolution(size, fields["image_grid_pinpoints"])
            grid = (best[0] // vision.image_size, best[1] // vision.image_size)
        count = 1 + grid[0] * grid[1]
        if len(pixels) < count:
            raise ValueError(
                f"The processor made {len(pixels)} tiles of an image of height "
                f"and width {size}, config.json asks for {count}: their "
                "image_grid_pinpoints differ."
            )
        patches = pictures.tiles(pixels[:count], vision, 1)
        tokens, shares = tokens_of_tiles(size, grid, vision.grid, most)
        result.append(Picture(patches, tokens, shares))
    return result


def best_resolution(
    size: tuple[int, int], choices: Sequence[Sequence[int]]
) -> tuple[int, int]:
    """The choice that keeps most pixels of an image, then pads the least.

    Args:
      size: height and width of the image. choices: heights and widths.
    """
    height, width = size

    def merit(choice):
        scale = min(choice[1] / width, choice[0] / height)
        fitted = int(width * scale) * int(height * scale)
        kept = min(fitted, width * height)
        return kept, kept - choice[0] * choice[1]

    best = max(choices, key=merit)
    return best[0], best[1]


def tokens_of_tiles(
    size: tuple[int, int],
    grid: tuple[int, int],
    side: int,
    most: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Order and mixture of an image's tokens; see `Picture`.

    Args:
      size: height and width of the image in pixels.
      grid: rows and columns of tiles, that of the whole image not counted;
        (0, 0) if that one is all there is.
      side: of a tile, in tokens.
      most: number of tiles; an image whose tokens are more than in so many is
        shrunk to about that.

    Returns:
      (int32 [T, K] numbers of tokens, counted tile by tile, float32 [T, K]),
      K=4 if the image is shrunk, else 1.
    """
    if grid == (0, 0):
        tokens = np.append(np.arange(side**2), NEWLINE).astype(np.int32)
        return tokens[:, None], np.ones((len(tokens), 1), np.float32)
    top, height, left, width = unpadded(grid[0] * side, grid[1] * side, size)
    ratio = math.sqrt(height * width / (most * side**2)) if most else 1.0
    shrunk = ratio > SHRINK
    y, y_shares = lines(height, int(height // ratio) if shrunk else height)
    x, x_shares = lines(width, int(width // ratio) if shrunk else width)

    y, x = top + y[:, None, :, None], left + x[None, :, None, :]
    tile = 1 + y // side * grid[1] + x // side
    tokens = (tile * side + y % side) * side + x % side
    shares = y_shares[:, None, :, None] * x_shares[None, :, None, :]
    rows, columns = tokens.shape[:2]
    mixed = y.shape[2] * x.shape[3]

    # Every row is followed by a newline, the first by the whole image.
    def flat(x, first, last):
        last = np.broadcast_to(last, (rows, 1, mixed))
        x = np.concatenate([x.reshape(rows, columns, mixed), last], axis=1)
        first = np.broadcast_to(first, (side**2, mixed))
        return np.concatenate([first, x.reshape(-1, mixed)])

    alone = np.eye(1, mixed)
    return (
        flat(tokens, np.arange(side**2)[:, None], NEWLINE).astype(np.int32),
        flat(shares, alone, alone).astype(np.float32),
    )


def unpadded(
    height: int, width: int, size: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Top, height, left and width of what is no padding, in tokens.

    Args:
      height, width: of the grid. size: height and width of the image, pixels.
    """
    tall, wide = size
    # Rounded before it is cut down, as products such as 3 * (7 / 3) fall short.
    if wide / tall > width / height:
        top = (height - int(round(tall * (width / wide), 7))) // 2
        return top, height - 2 * top, 0, width
    left = (width - int(round(wide * (height / tall), 7))) // 2
    return 0, height, left, width - 2 * left


def lines(count: int, wanted: int) -> tuple[np.ndarray, np.ndarray]:
    """Bilinear interpolation along one axis, edges (not centres) aligned.

    Returns:
      (int [wanted, K] of `count` lines, float32 [wanted, K]); K is 1 if
      nothing changes, else 2.
    """
    if wanted == count:
        return np.arange(count)[:, None], np.ones((count, 1), np.float32)
    step = np.float32(count / wanted)
    at = (np.arange(wanted, dtype=np.float32) + np.float32(0.5)) * step
    at = np.maximum(at - np.float32(0.5), 0)
    low = at.astype(np.int32)
    high = np.minimum(low + 1, count - 1)
    part = at - low.astype(np.float32)
    return np.stack([low, high], -1), np.stack([1 - part, part], -1)
