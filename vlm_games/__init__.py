"""Vision-language models that teach themselves by playing dialog games.

Imports go one way: `main` and `self_improve` sit on `methods` and
`evaluation`, these on `games`, then `sampling`, `training` and `report`, and
at the bottom `models`, `data` and `worlds` (tests/test_layers.py checks it).
"""

import importlib
import os

__version__ = "0.1.0"

# transformers prints a notice when PyTorch is missing; nothing here needs it.
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")


def __getattr__(name: str):
    """`load_pretrained`, found only when asked for.

    `import vlm_games` stays light: neither JAX nor transformers comes with it.
    """
    if name == "load_pretrained":
        module = importlib.import_module("vlm_games.hub.pretrained")
        return module.load_pretrained
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
