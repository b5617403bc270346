"""Checkpoints of runs, measured on more than a run takes time for.

    python benchmarks/checkpoints.py --json=docs/results/checkpoints.json \
        --checkpoints=$(ls -d /tmp/controls/seed_*/arms/main/iter_*/checkpoint \
        | paste -sd,)

Greedy answers on `--scenes` of either domain, and `--games` with a blind
Describer, of which aborted ones count as lost: a run asks about fewer scenes,
and its guard plays fewer games, than tell a tenth of a point, or a guess by
chance, from what is none.
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
from vlm_games.evaluation.questions import answer_accuracy
from vlm_games.games.play import Role
from vlm_games.planning.dry_run import playing_gib
from vlm_games.training import checkpoint

_GAMES = flags.DEFINE_integer("games", 512, "Games per checkpoint.", 1)
_SCENES = flags.DEFINE_integer("scenes", 1000, "Scenes of either domain.", 1)
_CHECKPOINTS = flags.DEFINE_list("checkpoints", [], "Besides the base.")
_SEED = flags.DEFINE_integer("seed", 11, "Of the image sets.", 0)
_JSON = flags.DEFINE_string("json", None, "File for the figures.")
_DRY_RUN = command_line.define_dry_run()
DRAWS = (0, 5)  # seed of what is said
ANSWERS = ("yes_no", "yes", "no", "other")
CONFIG = pathlib.Path(__file__).parents[1] / "configs" / "scenes.py"


def tell(config) -> str:
    """What would be done."""
    gib = playing_gib(config, jax.device_count(), CONFIG.parent)
    return (
        f"{_GAMES.value} games with a blind Describer, and questions on "
        f"{_SCENES.value} scenes of either domain, by each of "
        f"{1 + len(_CHECKPOINTS.value)} models; about {gib:.2f} GiB of each "
        f"of {jax.device_count()} devices."
    )


def answers(bench, held_out, params) -> dict[str, float]:
    """Accuracy on target and source, percent."""
    found = {}
    for name, images, items in (
        ("vqa", held_out.target, held_out.target_items),
        ("source", held_out.source, held_out.source_items),
    ):
        tokens = bench.engine.encode(params, stack(images))
        figures = answer_accuracy(
            bench.scorer, bench.prompts, params, tokens, items
        )
        found |= {f"{name}_{key}": figures[key] for key in ANSWERS}
    return found


def blind(bench, specs, params, pixels) -> dict[str, float]:
    """Games whose Describer sees grey, percent."""
    guesser = Role(params, bench.engine.encode(params, pixels))
    grey = bench.engine.encode(params, np.full_like(pixels, 128))
    played = list(bench.table.play(guesser, Role(params, grey), specs, DRAWS))
    aborted = 100.0 * np.mean([g.reason is not None for g in played])
    return {
        "blind_success": success_rate(played),
        "blind_aborted": float(aborted),
    }


def main() -> None:
    config = runpy.run_path(str(CONFIG))["get_config"]()
    config.eval.target_images = config.eval.source_images = _SCENES.value
    if _DRY_RUN.value:
        print(tell(config))
        return
    setup = workbench.build(config)
    bench, held_out, base = setup.bench, setup.held_out, setup.base_params
    pixels = stack(held_out.target)
    specs = held_out_specs(
        _GAMES.value, config.game.images, len(pixels), _SEED.value
    )
    found = {}
    for path in ["base", *_CHECKPOINTS.value]:
        params = base
        if path != "base":
            params = checkpoint.load(pathlib.Path(path), base)
        figures = answers(bench, held_out, params)
        figures |= blind(bench, specs, params, pixels)
        found[path] = {key: round(value, 2) for key, value in figures.items()}
        print(path, found[path], flush=True)
    if _JSON.value:
        result = {
            "command": " ".join(["python", *sys.argv]),
            "games": _GAMES.value,
            "scenes": _SCENES.value,
            "checkpoints": found,
        }
        pathlib.Path(_JSON.value).write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    command_line.run(main)
