"""How many pairs Triangular Consistency should keep.

    python -m vlm_games.compare --config=configs/triangle_sweep.py \
        --workdir=/tmp/w

The shares of the paper: 5, 20, 50, 80 and 100% of the pairs, the same number
of steps for all; each beside as many of the least consistent pairs.
"""

import pathlib
import runpy

import ml_collections

# entry -> share kept of each type.
SHARES = {
    "top_5": 0.05,
    "top_20": 0.2,
    "top_50": 0.5,
    "top_80": 0.8,
    "all": 1.0,
}


def get_config(entry: str = "") -> ml_collections.ConfigDict:
    """Returns the config of one entry's run, or what is compared if ""."""
    compare = pathlib.Path(__file__).with_name("compare.py")
    get_compared = runpy.run_path(str(compare))["get_config"]
    if not entry:
        c = get_compared()
        measures = c.entries.triangle
        c.entries = ml_collections.ConfigDict({k: measures for k in SHARES})
        return c
    if entry not in SHARES:
        raise ValueError(
            f"configs/triangle_sweep.py has no entry {entry!r}; it has "
            f"{', '.join(SHARES)}."
        )
    c = get_compared("triangle")
    c.triangle.keep = SHARES[entry]
    return c
