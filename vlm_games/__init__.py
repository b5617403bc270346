"""Vision-language models that teach themselves by playing dialog games.

Imports go one way: `main` and `self_improve` sit on `methods` and
`evaluation`, these on `games`, then `sampling`, `training` and `report`, and
at the bottom `models`, `data` and `worlds` (tests/test_layers.py checks it).
"""

__version__ = "0.1.0"
