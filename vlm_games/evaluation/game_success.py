"""Game success on held-out images, and the guards against empty wins."""

from collections.abc import Callable, Sequence

import numpy as np

from vlm_games.games.image_sets import draw_sets
from vlm_games.games.listener import decide, listen
from vlm_games.games.play import Role, Table
from vlm_games.games.prompts import Prompts
from vlm_games.games.protocol import GameSpec, PlayedGame
from vlm_games.sampling.scoring import Scorer


def held_out_specs(games: int, size: int, total: int, seed: int):
    """Random sets of `size` of `total` images, the same for every model."""
    drawn = draw_sets(
        kind="random",
        count=games,
        size=size,
        seed=seed,
        iteration=0,
        total=total,
    )
    return [
        GameSpec(game, found.images, found.target)
        for game, found in enumerate(drawn)
    ]


def success_rate(played: Sequence[PlayedGame]) -> float:
    """Percent of games whose target was named; aborted ones count as lost."""
    return 100.0 * float(np.mean([g.success for g in played]))


def play_held_out(
    table: Table,
    scorer: Scorer,
    prompts: Prompts,
    player: Role,
    specs: Sequence[GameSpec],
    seed: int,
    describer: Role | None = None,
) -> dict[str, float]:
    """Plays held-out games and lets the Guesser guess by likelihood, too.

    Args:
      player: the Guesser. describer: if it is not the same model.

    Returns:
      percentages, and the number of turns, by the names of metrics.json.
    """
    played = list(table.play(player, describer or player, specs, (seed, 0)))
    found = listen(scorer, prompts, player, played)
    heard = [decide(g, x) for g, x in zip(played, found, strict=True)]
    spoken = table.settings.guess == "spoken"
    return {
        "game_success": success_rate(played if spoken else heard),
        "game_success_likelihood": success_rate(heard),
        "game_aborted": 100.0
        * float(np.mean([g.reason is not None for g in played])),
        "game_turns": float(np.mean([len(g.exchanges) for g in played])),
    }


def measure_games(
    table: Table,
    scorer: Scorer,
    prompts: Prompts,
    player: Role,
    base: Role,
    blind_tokens,
    specs: Sequence[GameSpec],
    guard_games: int,
    seed: int,
    part_done: Callable[[], None],
) -> dict:
    """Plays held-out games and their guards.

    Args:
      player: the model, in both seats. base: iteration 0, for cross-play.
      blind_tokens: image tokens of as many plain grey images.
      specs: held-out games; the guards play the first `guard_games`.
      part_done: told of every kind of game that was played.

    Returns:
      percentages by the names of metrics.json.
    """

    def play(describer: Role, wanted: Sequence[GameSpec]) -> dict[str, float]:
        found = play_held_out(
            table, scorer, prompts, player, wanted, seed, describer
        )
        part_done()
        return found

    metrics = play(player, specs)
    few = specs[:guard_games]
    if few:
        blind = play(Role(player.params, blind_tokens), few)
        metrics["blind_success"] = blind["game_success"]
        metrics["cross_success"] = play(base, few)["game_success"]
    return metrics
