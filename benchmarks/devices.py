"""How often a sampled game differs between one device and several.

    XLA_FLAGS=--xla_force_host_platform_device_count=8 \
        python benchmarks/devices.py --games=1024

Every game's draws come from its own seed, so games are the same up to float
rounding: where two words are all but equally likely, a different order of
sums may flip the choice, and the rest of that game differs.
"""

import json
import pathlib
import sys

import jax
import numpy as np
from absl import flags

from vlm_games import command_line
from vlm_games.data.tokenizer import load_tokenizer
from vlm_games.evaluation.game_success import held_out_specs
from vlm_games.games.play import Role, Table
from vlm_games.games.prompts import Prompts
from vlm_games.games.protocol import GameSettings
from vlm_games.models.checkpoint import load_model
from vlm_games.models.mesh import make_mesh, place
from vlm_games.models.shipped import SHIPPED
from vlm_games.planning.dry_run import playing_gib
from vlm_games.sampling.engine import Engine
from vlm_games.worlds.splits import load_split

_GAMES = flags.DEFINE_integer("games", 1024, "Games to play on each.", 1)
_SEED = flags.DEFINE_integer("seed", 0, "Of image sets and draws.", 0)
_JSON = flags.DEFINE_string("json", None, "File for the figures.")
_DRY_RUN = command_line.define_dry_run()
SLOTS = 128


def play(devices, specs, pixels, temperature: float):
    """The games by number, as played on `devices`."""
    config, params = load_model(SHIPPED)
    mesh = make_mesh(devices)
    engine = Engine(config, mesh)
    params = place(mesh, params)
    settings = GameSettings(
        turns=4,
        guess="spoken",
        guesser_temperature=temperature,
        describer_temperature=temperature,
        slots=SLOTS,
    )
    tokenizer = load_tokenizer(str(SHIPPED))
    size = len(specs[0].images)
    table = Table(engine, tokenizer, Prompts(), settings, size)
    role = Role(params, engine.encode(params, pixels))
    played = table.play(role, role, specs, (_SEED.value, 1))
    return {
        g.spec.game: [(x.question, x.answer) for x in g.exchanges] + [g.guess]
        for g in played
    }


def tell() -> str:
    """What would be done."""
    fields = [f"config.play.slots={SLOTS}", "config.iterations=1"]
    config = command_line.load_config("scenes", fields)
    gib = playing_gib(config, 1, command_line.own_configs())
    return (
        f"{_GAMES.value} games of the shipped base, greedy and sampled, on one "
        f"device and on all {jax.device_count()}; about {gib:.2f} GiB of one."
    )


def main() -> None:
    if _DRY_RUN.value:
        print(tell())
        return
    devices = jax.devices()
    if len(devices) < 2:
        sys.exit("There is one device: set XLA_FLAGS as the docstring says.")
    _, pixels = load_split("target/play", 500)
    specs = held_out_specs(_GAMES.value, 4, len(pixels), _SEED.value)
    result = {"devices": len(devices), "games": len(specs)}
    for name, temperature in [("greedy", 0.0), ("sampled", 1.0)]:
        one, many = (
            play(some, specs, pixels, temperature)
            for some in (devices[:1], devices)
        )
        result[f"{name}_differ"] = int(
            np.sum([one[game] != many[game] for game in one])
        )
    print(json.dumps(result))
    if _JSON.value:
        result["command"] = " ".join(["python", *sys.argv])
        pathlib.Path(_JSON.value).write_text(json.dumps(result) + "\n")


if __name__ == "__main__":
    command_line.run(main)
