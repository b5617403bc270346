"""Decoding: formats, modes, orientation, large files."""

import pathlib
import warnings

import numpy as np
import pytest
from PIL import Image, ImageOps

from vlm_games.data import decode


def gradient(width: int = 48, height: int = 32) -> Image.Image:
    """RGB picture without any symmetry, smooth enough for lossy formats."""
    y, x = np.mgrid[:height, :width]
    red, green = 255 * x / width, 255 * y / height
    rgb = np.stack([red, green, 0.5 * red + 0.2 * green], axis=-1)
    return Image.fromarray(rgb.astype(np.uint8))


def expected(image: Image.Image, size: int) -> np.ndarray:
    """What a source should give, by Pillow's own cropping function."""
    rgb = ImageOps.fit(image.convert("RGB"), (size, size), Image.BICUBIC)
    return np.asarray(rgb).astype(int)


def flat(mode: str, colour) -> Image.Image:
    return Image.new(mode, (20, 20), colour)


def middle(path: pathlib.Path, size: int = 8) -> list[int]:
    return decode.decode_square(path, size)[size // 2, size // 2].tolist()


# Formats and modes -----------------------------------------------------------


@pytest.mark.parametrize(
    ("extension", "options", "tolerance"),
    [
        ("png", {}, 2),
        ("bmp", {}, 2),
        ("tiff", {}, 2),
        ("tiff", {"compression": "tiff_lzw"}, 2),
        ("ppm", {}, 2),
        ("webp", {"lossless": True}, 2),
        ("jpg", {"quality": 95}, 12),
        ("jpg", {"quality": 95, "progressive": True}, 12),
        ("gif", {}, 30),  # 256 colours
    ],
)
def test_format_gives_the_centred_square(
    tmp_path, extension, options, tolerance
):
    path = tmp_path / f"a.{extension}"
    gradient().save(path, **options)
    square = decode.decode_square(path, 16)
    assert square.shape == (16, 16, 3) and square.dtype == np.uint8
    assert abs(square - expected(gradient(), 16)).max() <= tolerance


@pytest.mark.parametrize("shape", [(300, 20), (20, 300), (1, 90), (90, 1)])
def test_aspect_is_kept_and_the_middle_shown(tmp_path, shape):
    """The middle third of the long side is white, the rest black."""
    width, height = shape
    pixels = np.zeros((height, width), np.uint8)
    long = max(shape)
    third = slice(long // 3, 2 * long // 3)
    pixels[(third, ...) if height > width else (..., third)] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert decode.decode_square(tmp_path / "a.png", 8).min() == 255


def test_grey_becomes_rgb(tmp_path):
    flat("L", 90).save(tmp_path / "a.png")
    assert middle(tmp_path / "a.png") == [90, 90, 90]


def test_black_and_white_becomes_rgb(tmp_path):
    flat("1", 1).save(tmp_path / "a.png")
    assert middle(tmp_path / "a.png") == [255, 255, 255]


def test_palette_gives_its_colours(tmp_path):
    flat("RGB", (200, 10, 60)).quantize(4).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as saved:
        assert saved.mode == "P"
    assert middle(tmp_path / "a.png") == [200, 10, 60]


def test_transparent_palette_lies_on_white(tmp_path):
    image = flat("P", 0)
    image.putpalette([255, 0, 0] * 256)
    image.save(tmp_path / "a.gif", transparency=0)
    assert middle(tmp_path / "a.gif") == [255, 255, 255]


@pytest.mark.parametrize("extension", ["png", "webp", "tiff"])
def test_alpha_lies_on_white(tmp_path, extension):
    path = tmp_path / f"a.{extension}"
    options = {"lossless": True} if extension == "webp" else {}
    flat("RGBA", (255, 0, 0, 51)).save(path, **options)  # a fifth of red
    assert middle(path) == [255, 204, 204]


def test_hidden_colour_does_not_bleed_from_transparent_pixels(tmp_path):
    """Green under alpha 0 beside opaque red: no mix may turn greenish."""
    pixels = np.zeros((40, 40, 4), np.uint8)
    pixels[:, ::2] = (255, 0, 0, 255)
    pixels[:, 1::2] = (0, 255, 0, 0)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    red, green, blue = middle(tmp_path / "a.png")
    assert red == 255 and abs(green - blue) <= 2


def test_grey_with_alpha_lies_on_white(tmp_path):
    flat("LA", (0, 51)).save(tmp_path / "a.png")
    assert middle(tmp_path / "a.png") == [204, 204, 204]


@pytest.mark.parametrize("extension", ["jpg", "tiff"])
def test_cmyk_becomes_rgb(tmp_path, extension):
    path = tmp_path / f"a.{extension}"
    flat("CMYK", (0, 255, 255, 0)).save(path)  # magenta + yellow = red
    red, green, blue = middle(path)
    assert red > 240 and green < 15 and blue < 15


@pytest.mark.parametrize("extension", ["png", "tiff", "pgm"])
def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path, extension):
    path = tmp_path / f"a.{extension}"
    Image.fromarray(np.full((20, 20), 128 * 257, np.uint16)).save(path)
    assert middle(path) == [128, 128, 128]


def test_big_endian_sixteen_bit_grey_is_scaled(tmp_path):
    grey = np.full((20, 20), 128 * 257, np.uint16).astype(">u2")
    image = Image.frombytes("I;16B", (20, 20), grey.tobytes())
    image.save(tmp_path / "a.tiff")
    assert middle(tmp_path / "a.tiff") == [128, 128, 128]


def test_float_pixels_are_refused_with_advice(tmp_path):
    Image.fromarray(np.ones((9, 9), np.float32)).save(tmp_path / "a.tiff")
    with pytest.raises(decode.UnreadableImageError, match="8 or 16 bits"):
        decode.decode_square(tmp_path / "a.tiff", 8)


@pytest.mark.parametrize("extension", ["gif", "webp", "png"])
def test_animation_gives_its_first_frame(tmp_path, extension):
    path = tmp_path / f"a.{extension}"
    frames = [flat("RGB", c) for c in ((255, 0, 0), (0, 0, 255))]
    options = {"lossless": True} if extension == "webp" else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)
    assert middle(path) == [255, 0, 0]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("extension", ["jpg", "png", "tiff", "webp"])
def test_exif_orientation_is_applied(tmp_path, extension, orientation):
    path = tmp_path / f"a.{extension}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95} if extension in ("jpg", "webp") else {}
    gradient().save(path, exif=exif, **options)
    upright = expected(ImageOps.exif_transpose(Image.open(path)), 16)
    assert abs(decode.decode_square(path, 16) - upright).max() <= 4
    if orientation != 1:  # and that is not what it would be without turning
        assert abs(expected(gradient(), 16) - upright).max() > 60


def test_damaged_exif_does_not_lose_the_picture(tmp_path):
    path = tmp_path / "a.jpg"
    flat("RGB", (9, 99, 9)).save(path, exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert abs(np.subtract(middle(path), (9, 99, 9))).max() <= 2


def test_large_jpeg_is_decoded_at_a_fraction(tmp_path, monkeypatch):
    """Draft mode: 2000 x 1000 for a square of 32 is read at an eighth."""
    path = tmp_path / "a.jpg"
    gradient(2000, 1000).save(path, quality=95)
    seen = []
    compose = decode._compose
    monkeypatch.setattr(
        decode,
        "_compose",
        lambda image, size: seen.append(image.size) or compose(image, size),
    )
    square = decode.decode_square(path, 32)
    assert seen == [(250, 125)]
    assert abs(square - expected(gradient(2000, 1000), 32)).max() <= 12
