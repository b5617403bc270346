"""The look of a domain: every knob of the renderer, with its unit."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Style:
    """How scenes are drawn; the defaults draw them plain and clean.

    A pair is the range (low, high) of a uniform draw, one per image. Lengths
    are in pixels of a 32 x 32 image and grow with the size of the image.
    """

    # Mean brightness of the background, 0 black to 1 white.
    background_level: tuple[float, float] = (0.82, 0.92)
    # Saturation of the background; its hue is any.
    background_tint: tuple[float, float] = (0.0, 0.0)
    # Patterns to pick among: "plain", "stripes", "checker", "blobs".
    textures: tuple[str, ...] = ("plain",)
    # Relative brightness swing of the pattern about the mean level.
    texture_contrast: tuple[float, float] = (0.0, 0.0)
    # Degrees added to the hue of every object of the domain.
    hue_shift: float = 0.0
    # Standard deviation, in degrees, of one more shift per image.
    hue_jitter: float = 0.0
    # Share of grey (of equal luma) mixed into the objects' colours.
    desaturation: tuple[float, float] = (0.0, 0.0)
    # Standard deviation of each object's relative brightness.
    brightness_jitter: float = 0.03
    # Relative fall of the light from one side of the image to the other.
    light_gradient: tuple[float, float] = (0.0, 0.0)
    # Standard deviation of independent pixel noise, on the scale 0 to 1.
    noise: tuple[float, float] = (0.0, 0.0)
    # Standard deviation of the Gaussian blur, in pixels.
    blur: tuple[float, float] = (0.0, 0.0)
    # Probability that a grey-brown bar crosses the image.
    bar_probability: float = 0.0
    # Width of the bar, in pixels.
    bar_width: tuple[float, float] = (2.0, 3.0)
    # Greatest number of dim specks behind the objects (0 to this, uniform).
    clutter: int = 0


CLEAN = Style()

WILD = Style(
    background_level=(0.50, 0.85),
    background_tint=(0.03, 0.15),
    textures=("stripes", "checker", "blobs"),
    texture_contrast=(0.04, 0.14),
    hue_shift=12.0,
    hue_jitter=8.0,
    desaturation=(0.2, 0.5),
    brightness_jitter=0.06,
    light_gradient=(0.0, 0.5),
    noise=(0.01, 0.05),
    blur=(0.0, 0.9),
    bar_probability=0.4,
    clutter=4,
)
