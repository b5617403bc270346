"""The models that come with the package, by name; see docs/base.md."""

import pathlib

ASSETS = pathlib.Path(__file__).parents[1] / "assets"
DEFAULT = "scenes_base"
SHIPPED = ASSETS / DEFAULT


def find_shipped(name: str) -> pathlib.Path:
    """The directory of a shipped model, the default one if the name is "";
    otherwise `name` itself as a path."""
    name = name or DEFAULT
    shipped = {path.name: path for path in ASSETS.iterdir()}
    return shipped.get(name, pathlib.Path(name))
