"""From one encoded image to a square RGB array, or a reason why not."""

import functools
import io
import os
from typing import BinaryIO

import numpy as np
from etils import epath
from PIL import Image

# Formats with a signature of their own. Left out on purpose: EPS, which starts
# Ghostscript on the file, and headerless ones such as TGA, which claim text.
FORMATS = (
    "JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF",
)  # fmt: skip

# Pillow's own bomb limit (width x height), for processes that switched it off.
DEFAULT_MAX_PIXELS = 89_478_485

# EXIF orientation -> what makes the picture upright (EXIF 2.32, tag 0x0112).
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadableImageError(ValueError):
    """The bytes are no image that can be decoded; the message says why."""


def decode_square(file: str | os.PathLike | BinaryIO, size: int) -> np.ndarray:
    """Decodes one image, upright, into a centred square.

    The short side is resized to `size` and the long side cropped about its
    middle. Transparency is laid on white, 16-bit grey keeps its upper eight
    bits, CMYK is converted without its colour profile, and of an animation
    the first frame is taken. The name's extension plays no part.

    Args:
      file: path or binary file of an image in one of `FORMATS`.
      size: side of the result, in pixels.

    Returns:
      uint8 [size, size, 3], RGB, not writeable.

    Raises:
      UnreadableImageError: not an image, cut short, or larger than
        `PIL.Image.MAX_IMAGE_PIXELS` (never decoded then).
    """
    try:
        with Image.open(file, formats=installed_formats()) as image:
            _refuse_bomb(image)
            # JPEG alone heeds this: it decodes at 1/2, 1/4 or 1/8 of the size,
            # leaving twice the pixels needed for the resize below.
            image.draft(None, (2 * size, 2 * size))
            image.load()
            pixels = _compose(image, size)
    except UnreadableImageError:
        raise
    # Broken files surface as nearly any exception: OSError, SyntaxError,
    # struct.error, ValueError, zlib.error, EOFError ... What matters is that
    # one of them does not end a scan of thousands.
    except Exception as error:
        raise UnreadableImageError(_reason(error)) from error
    pixels.setflags(write=False)
    return pixels


def check_header(file: str | os.PathLike | BinaryIO) -> None:
    """Reads the header alone: cheap, and blind to what is damaged behind it.

    Raises:
      UnreadableImageError: not an image, or larger than the limit.
    """
    try:
        with Image.open(file, formats=installed_formats()) as image:
            _refuse_bomb(image)
    except UnreadableImageError:
        raise
    except Exception as error:  # see `decode_square`
        raise UnreadableImageError(_reason(error)) from error


def decode_file(path: str, size: int) -> np.ndarray:
    """As `decode_square`, of a local path or a URL that `etils.epath` knows."""
    if "://" not in path:
        return decode_square(path, size)
    try:
        encoded = epath.Path(path).read_bytes()
    except OSError as error:
        raise UnreadableImageError(_reason(error)) from error
    return decode_square(io.BytesIO(encoded), size)


@functools.cache
def installed_formats() -> tuple[str, ...]:
    """Those of `FORMATS` that the installed Pillow knows of."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _refuse_bomb(image: Image.Image) -> None:
    """Pillow only warns up to twice its limit; here the limit is the limit."""
    limit = Image.MAX_IMAGE_PIXELS or DEFAULT_MAX_PIXELS
    if image.width * image.height > limit:
        raise UnreadableImageError(
            f"{image.width} x {image.height} pixels are more than the limit "
            f"of {limit} (PIL.Image.MAX_IMAGE_PIXELS)"
        )


def _compose(image: Image.Image, size: int) -> np.ndarray:
    """Loaded image of any mode -> uint8 [size, size, 3]."""
    colour = _to_rgb_or_rgba(image)
    short = min(colour.size)
    left, top = (colour.width - short) / 2, (colour.height - short) / 2
    square = colour.resize(
        (size, size),
        Image.Resampling.BICUBIC,
        box=(left, top, left + short, top + short),
        reducing_gap=2.0,
    )
    if square.mode == "RGBA":
        white = Image.new("RGBA", square.size, "white")
        square = Image.alpha_composite(white, square).convert("RGB")
    # A centred square turns onto itself, so turning the small result is the
    # same as turning the large original, and far cheaper.
    upright = _UPRIGHT.get(_orientation(image))
    if upright is not None:
        square = square.transpose(upright)
    return np.array(square, dtype=np.uint8)


def _to_rgb_or_rgba(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or (
        # Pillow before 11.3 opens 16-bit PNG and PGM as 32-bit integers.
        image.mode == "I" and image.format in ("PNG", "PPM")
    ):
        # The upper byte: Pillow's own conversion clips everything above 255.
        grey = (np.asarray(image) >> 8).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.mode in ("I", "F"):
        raise UnreadableImageError(
            f"pixels of mode {image.mode} (32-bit) have no agreed range; "
            "save the image with 8 or 16 bits per channel"
        )
    if image.mode == "La":  # premultiplied; it converts to LA only
        image = image.convert("LA")
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1-8; damaged EXIF beside sound pixels counts as 1."""
    try:
        return image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:
        return 1


def _reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return f"not an image in any of the formats {', '.join(FORMATS)}"
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
