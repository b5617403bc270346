"""How many pairs Triangular Consistency should keep.

    python -m vlm_games.compare --config=configs/triangle_sweep.py \
        --workdir=/tmp/w

The shares of the paper, 5, 20, 50, 80 and 100% of the pairs of every type, for
one round; beside 20% as many of the least consistent pairs. All make the same
pairs and take the same number of steps.
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
CONTROLS = {"top_20": "bottom"}


def get_config(entry: str = "") -> ml_collections.ConfigDict:
    """Returns the config of one entry's run, or what is compared if ""."""
    compare = pathlib.Path(__file__).with_name("compare.py")
    get_compared = runpy.run_path(str(compare))["get_config"]
    if not entry:
        c = get_compared()
        measure = c.entries.triangle.measure
        c.entries = ml_collections.ConfigDict(
            {
                name: {"measure": measure, "control": CONTROLS.get(name, "")}
                for name in SHARES
            }
        )
        return c
    if entry not in SHARES:
        raise ValueError(
            f"configs/triangle_sweep.py has no entry {entry!r}; it has "
            f"{', '.join(SHARES)}."
        )
    c = get_compared("triangle")
    c.iterations = 1
    c.controls = (CONTROLS[entry],) if entry in CONTROLS else ()
    c.triangle.keep = SHARES[entry]
    return c
