"""Draws scenes as pixels: pure, vectorised over images, one seed per image."""

from collections.abc import Sequence

import numpy as np

from vlm_games.worlds.backdrop import (
    BLOB_GRID,
    MAX_SPECKS,
    hsv_to_rgb,
    paint_backdrop,
    within,
)
from vlm_games.worlds.scenes import COLORS, PLACES, SHAPES, SIZES, Scene
from vlm_games.worlds.style import Style

# Hue (degrees), saturation and value of COLORS. Red, orange and yellow lean
# down the wheel: the target's shift, upwards, must not change their names.
_HSV = np.array(
    [
        (350, 0.90, 0.86),
        (130, 0.80, 0.64),
        (222, 0.85, 0.90),
        (53, 0.88, 0.98),
        (280, 0.72, 0.74),
        (23, 0.95, 0.98),
    ]
)
_HALF_EXTENT = np.array([4.6, 6.6]) / 32  # of SIZES, in image widths
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_SUPERSAMPLING = 3
_CHUNK = 128  # images drawn at once: their canvases stay in the cache

# Every random number of an image, by name: (name, how many). All are drawn for
# every style, in this order, so a knob changes what it names and nothing else.
_UNIFORM = (
    ("level", 1),
    ("tint", 1),
    ("tint_hue", 1),
    ("texture", 1),
    ("texture_contrast", 1),
    ("texture_angle", 1),
    ("texture_scale", 1),
    ("texture_phase", 2),
    ("desaturation", 1),
    ("light", 1),
    ("light_angle", 1),
    ("noise", 1),
    ("blur", 1),
    ("bar", 1),
    ("bar_upright", 1),
    ("bar_at", 1),
    ("bar_width", 1),
    ("bar_level", 1),
    ("specks", 1),
    ("speck_x", MAX_SPECKS),
    ("speck_y", MAX_SPECKS),
    ("speck_radius", MAX_SPECKS),
    ("speck_depth", MAX_SPECKS),
)
_NORMAL = (("hue", 1), ("brightness", len(PLACES)), ("blobs", BLOB_GRID**2))


def render(
    scenes: Sequence[Scene], style: Style, seeds: Sequence, size: int = 32
) -> np.ndarray:
    """Draws each scene with its own seed.

    Args:
      scenes: n scenes.
      style: the look of their domain.
      seeds: n seeds for numpy.random.default_rng: integers or tuples of them.
      size: height and width in pixels, an even number.

    Returns:
      uint8 [n, size, size, 3], RGB. The same scene, style, seed and size give
      the same bytes whatever else is in the batch.

    Raises:
      ValueError: if scenes and seeds differ in length, if size is odd or if
        the style asks for too many specks.
    """
    if len(scenes) != len(seeds):
        raise ValueError(
            f"render needs one seed per scene: got {len(scenes)} scenes and"
            f" {len(seeds)} seeds"
        )
    if size < 2 or size % 2:
        raise ValueError(
            f"size is {size}; it must be even, for an image is cut into four"
            " equal quadrants"
        )
    if not 0 <= style.clutter <= MAX_SPECKS:
        raise ValueError(f"clutter is {style.clutter}; use 0 to {MAX_SPECKS}")
    images = np.empty((len(scenes), size, size, 3), np.uint8)
    for start in range(0, len(scenes), _CHUNK):
        rows = slice(start, start + _CHUNK)
        images[rows] = _render_chunk(scenes[rows], style, seeds[rows], size)
    return images


def _render_chunk(scenes, style, seeds, size) -> np.ndarray:
    """One chunk of render, painted from the back to the front."""
    rngs = [np.random.default_rng(seed) for seed in seeds]
    draws = _draw(rngs)
    canvas = paint_backdrop(style, draws, size)
    _paint_objects(canvas, scenes, style, draws)
    if style.bar_probability:
        canvas = _paint_bar(canvas, style, draws)
    if max(style.light_gradient):
        canvas *= _light(style, draws, size)[..., None]
    if max(style.blur):
        canvas = _blur(canvas, within(draws["blur"], style.blur) * size / 32)
    if max(style.noise):
        deviation = within(draws["noise"], style.noise)[:, 0]
        for image, rng, scale in zip(canvas, rngs, deviation, strict=True):
            image += scale * rng.standard_normal(image.shape, np.float32)
    return np.asarray(np.clip(canvas, 0, 1) * 255 + 0.5, np.uint8)


def _draw(rngs) -> dict[str, np.ndarray]:
    """The random numbers of n images: name -> float32 [n, how many]."""
    draws = {}
    for table, method in ((_UNIFORM, "random"), (_NORMAL, "standard_normal")):
        total = sum(width for _, width in table)
        values = np.stack(
            [getattr(rng, method)(total, np.float32) for rng in rngs]
        )
        for name, width in table:
            draws[name], values = values[:, :width], values[:, width:]
    return draws


def _paint_objects(canvas, scenes, style, draws) -> None:
    """Paints every object onto canvas [n, S, S, 3], in place."""
    # One row per object, over all the images: m rows.
    image, place, shape, color, big, dx, dy = (
        np.array(column)
        for column in zip(
            *(
                (
                    i,
                    PLACES.index(o.place),
                    SHAPES.index(o.shape),
                    COLORS.index(o.color),
                    SIZES.index(o.size),
                    o.dx,
                    o.dy,
                )
                for i, scene in enumerate(scenes)
                for o in scene.objects
            ),
            strict=True,
        )
    )
    hue, saturation, value = _HSV[color].T
    hue = hue + style.hue_shift + style.hue_jitter * draws["hue"][image, 0]
    value = value * (
        1 + style.brightness_jitter * draws["brightness"][image, place]
    )
    rgb = hsv_to_rgb(hue, saturation, np.clip(value, 0, 1))
    grey = within(draws["desaturation"][image], style.desaturation)
    rgb += grey * ((rgb @ _LUMA)[:, None] - rgb)

    n, size = canvas.shape[:2]
    half = size // 2
    cover = np.empty((len(image), half, half, 1), np.float32)
    for index, name in enumerate(SHAPES):
        rows = np.flatnonzero(shape == index)
        cover[rows, :, :, 0] = _coverage(
            name,
            0.25 + dx[rows],
            0.25 + dy[rows],
            _HALF_EXTENT[big[rows]],
            size,
        )
    # Objects own their quadrants, so that no pixel is written twice.
    quadrants = canvas.reshape(n, 2, half, 2, half, 3)
    at = (image, place // 2, slice(None), place % 2)
    behind = quadrants[at]
    quadrants[at] = behind + cover * (rgb[:, None, None] - behind)


def _coverage(shape, cx, cy, half_extent, size) -> np.ndarray:
    """Share of each pixel that a shape covers, float32 [m, size/2, size/2].

    Args:
      shape: one of SHAPES, the same for the m objects.
      cx, cy: centres in the quadrant, [m], in image widths.
      half_extent: half of the objects' width, [m], in image widths.
      size: of the whole image, in pixels.
    """
    k = _SUPERSAMPLING
    t = (np.arange(k * size // 2) + 0.5) / (k * size)
    # Unit coordinates: the shape spans [-1, 1] in u (right) and v (down).
    u = np.asarray((t - cx[:, None]) / half_extent[:, None], np.float32)
    v = np.asarray((t - cy[:, None]) / half_extent[:, None], np.float32)
    u, v = u[:, None, :], v[:, :, None]
    match shape:
        case "circle":
            inside = u**2 + v**2 < 1
        case "square":
            inside = np.maximum(np.abs(u), np.abs(v)) < 0.95
        case "triangle":  # the point up; as wide as tall
            inside = (np.abs(u) < (v + 1) / 1.9) & (v < 0.9)
        case "cross":
            across, up = np.abs(u), np.abs(v)
            inside = (across < 0.33) & (up < 1) | (across < 1) & (up < 0.33)
        case "ring":
            squared = u**2 + v**2
            inside = (squared < 1) & (squared > 0.55**2)
    # Adding strided views is several times faster than a mean over axes of 3.
    samples = inside.view(np.uint8)
    rows = samples[:, 0::k]
    for i in range(1, k):
        rows = rows + samples[:, i::k]
    hits = rows[:, :, 0::k]
    for i in range(1, k):
        hits = hits + rows[:, :, i::k]
    return hits / np.float32(k * k)


def _paint_bar(canvas, style, draws) -> np.ndarray:
    """Lays a grey-brown bar across some of the images [n, S, S, 3]."""
    size = canvas.shape[1]
    pixels = np.arange(size) + 0.5
    width = within(draws["bar_width"], style.bar_width) * size / 32
    centre = within(draws["bar_at"], (0.1, 0.9)) * size
    # A pixel at distance d from the middle is covered for width/2 + 1/2 - d.
    cover = np.clip(width / 2 + 0.5 - np.abs(pixels - centre), 0, 1)
    cover *= draws["bar"] < style.bar_probability
    upright = draws["bar_upright"][..., None, None] < 0.5
    cover = np.where(upright, cover[:, None, :, None], cover[:, :, None, None])
    brown = np.array([0.50, 0.44, 0.38], np.float32)
    color = brown * within(draws["bar_level"], (0.6, 1.2))
    return canvas + np.asarray(cover, np.float32) * (
        color[:, None, None] - canvas
    )


def _light(style, draws, size) -> np.ndarray:
    """Light falling off linearly across the image, float32 [n, S, S]."""
    t = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    angle = 2 * np.pi * draws["light_angle"]
    strength = within(draws["light"], style.light_gradient)
    x, y = strength * np.cos(angle) * t, strength * np.sin(angle) * t
    return 1 + y[:, :, None] + x[:, None, :]


def _blur(canvas, sigma) -> np.ndarray:
    """Gaussian blur of [n, S, S, 3] by sigma [n, 1] pixels, per image.

    A row of the S x S matrix holds one pixel's weights; they sum to one at the
    borders too. Blurring is one product per axis, with any sigma per image.
    """
    n, size = canvas.shape[:2]
    pixels = np.arange(size, dtype=np.float32)
    distance = (pixels[:, None] - pixels) / np.maximum(sigma, 0.05)[..., None]
    weights = np.exp(-0.5 * distance**2)
    weights /= weights.sum(-1, keepdims=True)
    # Rows: [S, S] @ [S, S*3]; columns: [1, S, S] @ [S, S, 3].
    rows = (weights @ canvas.reshape(n, size, -1)).reshape(canvas.shape)
    return weights[:, None] @ rows
