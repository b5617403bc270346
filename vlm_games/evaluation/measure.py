"""All measures of one model: questions, games, guards, forgetting."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from vlm_games.data.images import ImageSource
from vlm_games.evaluation.game_success import held_out_specs, measure_games
from vlm_games.evaluation.questions import (
    Item,
    answer_accuracy,
    draw_items,
)
from vlm_games.games.play import Role, Table
from vlm_games.games.prompts import Prompts
from vlm_games.games.protocol import GameSpec
from vlm_games.sampling.engine import Engine
from vlm_games.sampling.scoring import Scorer


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """What models are measured on; no model learns from it.

    Attributes:
      games: images of the games; specs: the games.
      target, source: scenes of the two domains; target_items, source_items:
        their questions.
      guard_games: games of each guard. seed: of all draws.
    """

    games: ImageSource
    specs: Sequence[GameSpec]
    target: ImageSource
    target_items: Sequence[Item]
    source: ImageSource
    source_items: Sequence[Item]
    guard_games: int
    seed: int


def hold_out(
    games: ImageSource, target, source, config, images_per_game: int
) -> HeldOut:
    """Draws the questions and games of a run's measure.

    Args:
      games: images of the held-out games; target, source: RenderedSource.
      config: `config.eval`.
    """
    return HeldOut(
        games=games,
        specs=held_out_specs(
            config.games, images_per_game, len(games), config.seed
        ),
        target=target,
        target_items=draw_items(target.scenes, config.seed),
        source=source,
        source_items=draw_items(source.scenes, config.seed + 1),
        guard_games=config.guard_games,
        seed=config.seed,
    )


def stack(images: ImageSource) -> np.ndarray:
    """All images of a source, uint8 [N, H, W, 3]."""
    return np.stack([images[i] for i in range(len(images))])


def measure(
    engine: Engine,
    scorer: Scorer,
    prompts: Prompts,
    table: Table,
    params,
    base_params,
    held_out: HeldOut,
    guards: bool = True,
) -> dict:
    """Returns the metrics of one model, as metrics.json names them.

    Without `guards` the blind Describer and cross-play are left out.
    """
    metrics = {}
    for name, images, items in [
        ("vqa", held_out.target, held_out.target_items),
        ("source", held_out.source, held_out.source_items),
    ]:
        tokens = engine.encode(params, stack(images))
        found = answer_accuracy(scorer, prompts, params, tokens, items)
        metrics |= {f"{name}_{key}": value for key, value in found.items()}
    pixels = stack(held_out.games)
    grey = np.full_like(pixels, 128)
    metrics |= measure_games(
        table,
        scorer,
        prompts,
        Role(params, engine.encode(params, pixels)),
        Role(base_params, engine.encode(base_params, pixels)),
        engine.encode(params, grey),
        held_out.specs,
        held_out.guard_games if guards else 0,
        held_out.seed,
    )
    return metrics
