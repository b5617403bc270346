"""Games whose questions come from a list: for models that cannot ask yet.

Only the Describer speaks; the listener guesses by likelihood.
"""

from collections.abc import Sequence

import numpy as np

from vlm_games.data.tokenizer import Tokenizer
from vlm_games.games.answer import Asked, answer
from vlm_games.games.play import Role
from vlm_games.games.prompts import Prompts
from vlm_games.games.protocol import (
    Exchange,
    GameSettings,
    GameSpec,
    PlayedGame,
)
from vlm_games.sampling.engine import Engine


def play_list(
    engine: Engine,
    tokenizer: Tokenizer,
    prompts: Prompts,
    settings: GameSettings,
    describer: Role,
    specs: Sequence[GameSpec],
    seed: tuple[int, ...],
) -> list[PlayedGame]:
    """Plays every spec with `settings.turns` questions of the list, drawn anew.

    An answer longer than `settings.answer_tokens` is cut there. An empty one
    aborts its game.

    Args:
      describer: who answers. specs: games without a script.
      seed: with a game's number it fixes questions and answers.
    """
    listed = settings.questions
    count = min(settings.turns, len(listed))
    drawn = [
        np.random.default_rng((*seed, spec.game)).permutation(len(listed))
        for spec in specs
    ]
    asked = [
        Asked(
            spec.images[spec.target],
            prompts.describer_trunk() + prompts.question_only(listed[number]),
            (spec.game, turn),
        )
        for spec, order in zip(specs, drawn, strict=True)
        for turn, number in enumerate(order[:count])
    ]
    said = answer(
        engine,
        tokenizer,
        describer,
        asked,
        settings.answer_tokens,
        settings.describer_temperature,
        seed,
        max(settings.slots // engine.shards, 1),
    )
    games = []
    for i, (spec, order) in enumerate(zip(specs, drawn, strict=True)):
        exchanges = tuple(
            Exchange(listed[number], found.text, "", 0.0, found.log_prob)
            for number, found in zip(
                order[:count], said[i * count : (i + 1) * count], strict=True
            )
        )
        fault = None if all(x.answer for x in exchanges) else "empty answer"
        games.append(PlayedGame(spec, exchanges, "", None, fault))
    return games
