"""What lies behind the objects: a tinted texture and dim specks."""

import numpy as np

from vlm_games.worlds.style import Style

BLOB_GRID = 5  # blobs interpolate a 5 x 5 grid of normal draws
MAX_SPECKS = 8  # draws made per image, whatever the style uses


def within(u: np.ndarray, bounds: tuple[float, float]) -> np.ndarray:
    """Maps uniform draws of [0, 1) onto [low, high), as float32."""
    low, high = bounds
    return np.asarray(low + (high - low) * u, np.float32)


def hsv_to_rgb(hue, saturation, value) -> np.ndarray:
    """RGB in [0, 1], float32 [..., 3], of a hue in degrees, s and v in [0, 1].

    The formula without cases: https://en.wikipedia.org/wiki/HSL_and_HSV
    """
    hue, saturation, value = (
        np.asarray(x)[..., None] for x in (hue, saturation, value)
    )
    k = (np.array([5.0, 3.0, 1.0]) + hue / 60) % 6
    fall = np.clip(np.minimum(k, 4 - k), 0, 1)
    return np.asarray(value - value * saturation * fall, np.float32)


def _stripes(draws, t) -> np.ndarray:
    angle = 2 * np.pi * draws["texture_angle"]
    cycles = 3 + 4 * draws["texture_scale"]
    phase = 2 * np.pi * draws["texture_phase"][:, :1]
    x = 2 * np.pi * cycles * np.cos(angle) * t + phase
    y = 2 * np.pi * cycles * np.sin(angle) * t
    # sin(x + y) from n*S sines instead of n*S*S.
    return (
        np.sin(y)[:, :, None] * np.cos(x)[:, None]
        + np.cos(y)[:, :, None] * np.sin(x)[:, None]
    )


def _checker(draws, t) -> np.ndarray:
    cycles = 1.5 + 2.5 * draws["texture_scale"]
    phases = draws["texture_phase"].T[..., None]
    x, y = np.sign(np.sin(2 * np.pi * (cycles * t + phases)))
    return y[:, :, None] * x[:, None]


def _blobs(draws, t) -> np.ndarray:
    knots = np.linspace(0, 1, BLOB_GRID)
    weight = np.exp(-0.5 * ((t[:, None] - knots) * (BLOB_GRID - 1) / 0.6) ** 2)
    weight = weight / weight.sum(1, keepdims=True)
    grid = draws["blobs"].reshape(-1, BLOB_GRID, BLOB_GRID)
    return np.clip(1.5 * (weight @ grid @ weight.T), -1.5, 1.5)


_PATTERNS = {"stripes": _stripes, "checker": _checker, "blobs": _blobs}


def paint_backdrop(style: Style, draws: dict, size: int) -> np.ndarray:
    """The canvas before any object, float32 [n, size, size, 3] in [0, 1].

    Args:
      style: the domain's look.
      draws: named random numbers, each [n, width] (see render.py).
      size: height and width in pixels.
    """
    t = (np.arange(size, dtype=np.float32) + 0.5) / size
    n = len(draws["level"])
    pick = (draws["texture"][:, 0] * len(style.textures)).astype(int)
    pattern = np.zeros((n, size, size), np.float32)
    for index, name in enumerate(style.textures):
        if name != "plain":
            rows = np.flatnonzero(pick == index)
            pattern[rows] = _PATTERNS[name](
                {key: value[rows] for key, value in draws.items()}, t
            )
    contrast = within(draws["texture_contrast"], style.texture_contrast)
    shade = 1 + contrast[:, :, None] * pattern
    tint = hsv_to_rgb(
        360 * draws["tint_hue"][:, 0],
        within(draws["tint"][:, 0], style.background_tint),
        within(draws["level"][:, 0], style.background_level),
    )
    if style.clutter:
        shade *= _specks(style, draws, t)
    return shade[..., None] * tint[:, None, None]


def _specks(style: Style, draws: dict, t: np.ndarray) -> np.ndarray:
    """How much light the specks leave, float32 [n, S, S] in (0, 1]."""
    slots = slice(0, style.clutter)
    used = np.arange(style.clutter) < (
        draws["specks"] * (style.clutter + 1)
    ).astype(int)
    # Soft dots are separable: a column profile times a row profile.
    radius = within(draws["speck_radius"][:, slots, None], (0.5, 0.9)) / 32
    x, y = (
        np.exp(-0.5 * ((t - draws[key][:, slots, None]) / radius) ** 2)
        for key in ("speck_x", "speck_y")
    )
    depth = used * within(draws["speck_depth"][:, slots], (0.25, 0.5))
    dots = np.swapaxes(depth[..., None] * y, 1, 2) @ x
    return (1 - np.clip(dots, 0, 0.6)).astype(np.float32)
