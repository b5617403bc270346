"""Games with a blind Describer, many of them, for checkpoints of runs.

    python benchmarks/blind.py --games=512 \
        --checkpoints=/tmp/controls/seed_0/arms/main/iter_003/checkpoint

The guard of a run plays few games; this one tells a guess by chance from one
that is not. Aborted games count as lost.
"""

import json
import pathlib
import runpy
import sys

import jax
import numpy as np
from absl import flags

from vlm_games import command_line, workbench
from vlm_games.evaluation.game_success import held_out_specs, success_rate
from vlm_games.evaluation.measure import stack
from vlm_games.games.play import Role
from vlm_games.planning.dry_run import playing_gib
from vlm_games.training import checkpoint

_GAMES = flags.DEFINE_integer("games", 512, "Games per checkpoint.", 1)
_CHECKPOINTS = flags.DEFINE_list("checkpoints", [], "Besides the base.")
_SEED = flags.DEFINE_integer("seed", 11, "Of the image sets.", 0)
_JSON = flags.DEFINE_string("json", None, "File for the figures.")
_DRY_RUN = command_line.define_dry_run()
DRAWS = (0, 5)  # seed of what is said
CONFIG = pathlib.Path(__file__).parents[1] / "configs" / "scenes.py"


def tell(config) -> str:
    """What would be done."""
    gib = playing_gib(config, jax.device_count(), CONFIG.parent)
    return (
        f"{_GAMES.value} games with a blind Describer by each of "
        f"{1 + len(_CHECKPOINTS.value)} models; about {gib:.2f} GiB of each "
        f"of {jax.device_count()} devices."
    )


def main() -> None:
    config = runpy.run_path(str(CONFIG))["get_config"]()
    if _DRY_RUN.value:
        print(tell(config))
        return
    setup = workbench.build(config)
    bench = setup.bench
    base = setup.base_params
    pixels = stack(setup.held_out.target)
    specs = held_out_specs(
        _GAMES.value, config.game.images, len(pixels), _SEED.value
    )
    blind = {}
    for path in ["base", *_CHECKPOINTS.value]:
        params = base
        if path != "base":
            params = checkpoint.load(pathlib.Path(path), base)
        guesser = Role(params, bench.engine.encode(params, pixels))
        grey = bench.engine.encode(params, np.full_like(pixels, 128))
        describer = Role(params, grey)
        played = list(bench.table.play(guesser, describer, specs, DRAWS))
        aborted = 100.0 * np.mean([g.reason is not None for g in played])
        blind[path] = {
            "success": round(success_rate(played), 2),
            "aborted": round(float(aborted), 2),
        }
        print(path, blind[path], flush=True)
    if _JSON.value:
        result = {
            "command": " ".join(["python", *sys.argv]),
            "games": _GAMES.value,
            "blind": blind,
        }
        pathlib.Path(_JSON.value).write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    command_line.run(main)
