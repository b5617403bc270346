"""What image processors return, as patches in the order our tower reads."""

from collections.abc import Sequence

import einops
import jax
import numpy as np

from vlm_games.hub.family import Picture
from vlm_games.models.config import VisionConfig
from vlm_games.models.vision import Patches, patch_layout


def tiles(pixels_NxCxHxW, vision: VisionConfig, fold: int) -> Patches:
    """Patches of normalised images of one size; what fills none is cut off."""
    p = vision.patch_size
    n, _, height, width = pixels_NxCxHxW.shape
    height, width = height // p, width // p
    x = einops.rearrange(
        np.asarray(pixels_NxCxHxW[..., : height * p, : width * p], np.float32),
        "n c (y a p) (x b q) -> n (y x a b) (p q c)",
        a=fold,
        b=fold,
        p=p,
        q=p,
    )
    layout = patch_layout(vision, height, width, fold)
    x = np.tile(x, vision.frames)
    return Patches(x, *[np.broadcast_to(y, (n, *y.shape)) for y in layout])


def split(patches: Patches, counts: Sequence[int]) -> list[Patches]:
    """Parts of `counts` rows each, in order."""
    ends = np.cumsum(counts)
    return [
        jax.tree.map(lambda x, n=n, end=end: x[end - n : end], patches)
        for n, end in zip(counts, ends, strict=True)
    ]


def whole(patches: Patches, fold: int) -> Picture:
    """A picture whose tokens are those of its rows, in order."""
    count = patches.pixels.shape[0] * patches.pixels.shape[1] // fold**2
    tokens = np.arange(count, dtype=np.int32)[:, None]
    return Picture(patches, tokens, np.ones((count, 1), np.float32))


def stack(pictures: Sequence[Picture]) -> Patches:
    """All rows of all pictures, padded to the longest.

    Padding has window -1, which no patch attends to. There must be a picture.
    """
    longest = max(p.patches.pixels.shape[1] for p in pictures)
    widest = max(p.patches.rows.shape[2] for p in pictures)

    def padded(field: str, fill, mixed: bool = False):
        parts = []
        for picture in pictures:
            x = getattr(picture.patches, field)
            pad = [(0, 0)] * x.ndim
            pad[1] = (0, longest - x.shape[1])
            if mixed:
                pad[2] = (0, widest - x.shape[2])
            parts.append(np.pad(x, pad, constant_values=fill))
        return np.concatenate(parts)

    return Patches(
        padded("pixels", 0.0),
        padded("rows", 0, mixed=True),
        padded("shares", 0.0, mixed=True),
        padded("places", 0),
        padded("windows", -1),
    )


def raster(pictures: Sequence[Picture]) -> np.ndarray:
    """Order that puts every row's patches line by line, image after image."""
    orders, first = [], 0
    for picture in pictures:
        for places in picture.patches.places:
            line = np.lexsort((places[:, 1], places[:, 0]))
            orders.append(first + line)
            first += len(places)
    return np.concatenate(orders)


def by_window(pictures: Sequence[Picture]) -> np.ndarray:
    """Order that puts every row's patches window by window, else as they are.

    Without windows, nothing moves.
    """
    orders, first = [], 0
    for picture in pictures:
        for windows in picture.patches.windows:
            orders.append(first + np.argsort(windows, kind="stable"))
            first += len(windows)
    return np.concatenate(orders)
