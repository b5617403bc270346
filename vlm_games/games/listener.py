"""The likelihood guess: which image makes the answers most probable.

A listener by Bayes' rule over a uniform prior, with the model's own Describer
as the speaker: belief[k] ~ prod over turns of p(answer | image k, question).
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from vlm_games.data.examples import Example, read, said
from vlm_games.games.play import Role
from vlm_games.games.prompts import Prompts
from vlm_games.games.protocol import PlayedGame
from vlm_games.sampling.scoring import Scorer


def listen(
    scorer: Scorer,
    prompts: Prompts,
    describer: Role,
    games: Sequence[PlayedGame],
) -> list[np.ndarray]:
    """Log-probability of every answer under every image of its game.

    Args:
      describer: whose answers they might be, and the views it judges by.

    Returns:
      per game float [turns, N]; no turns gives [0, N].
    """
    examples, owners = [], []
    for number, game in enumerate(games):
        if not game.exchanges:
            continue
        branches = tuple(
            (
                read(prompts.question_only(x.question)),
                said(prompts.reply(x.answer)),
            )
            for x in game.exchanges
        )
        for image in game.spec.images:
            trunk = (read(prompts.describer_trunk()),)
            examples.append(Example((image,), trunk, branches))
            owners.append(number)
    scores = scorer.score(describer.params, describer.image_tokens, examples)
    columns: list[list[list[float]]] = [[] for _ in games]
    for number, score in zip(owners, scores, strict=True):
        columns[number].append([s.log_prob for s in score])
    return [
        np.array(found).T if found else np.zeros((0, len(game.spec.images)))
        for found, game in zip(columns, games, strict=True)
    ]


def beliefs(log_probs_TxN: np.ndarray) -> np.ndarray:
    """Belief over the images after each turn, [T, N].

    Examples:
      >>> beliefs(np.log([[0.9, 0.1], [0.5, 0.5]])).round(2).tolist()
      [[0.9, 0.1], [0.9, 0.1]]
    """
    total = np.cumsum(log_probs_TxN, axis=0)
    total = np.exp(total - total.max(axis=-1, initial=-np.inf, keepdims=True))
    return total / total.sum(axis=-1, keepdims=True)


def credits(log_probs_TxN: np.ndarray, target: int) -> np.ndarray:
    """What each answer alone says for the target, [T], nats.

    log p(a | target) - log mean_k p(a | image k): positive if the answer
    fits the target better than the average image of the game. An answer that
    the Describer would give to any image (a habitual yes) earns nothing,
    whichever image it is true of.

    Examples:
      >>> telling, habitual = [0.9, 0.1], [0.8, 0.8]
      >>> credits(np.log([telling, habitual]), target=0).round(2).tolist()
      [0.59, 0.0]
    """
    top = log_probs_TxN.max(axis=-1, initial=-np.inf, keepdims=True)
    mean = np.exp(log_probs_TxN - top).mean(axis=-1)
    return log_probs_TxN[:, target] - (top[:, 0] + np.log(mean))


def decide(game: PlayedGame, log_probs_TxN: np.ndarray) -> PlayedGame:
    """The game with the likelihood guess; aborted games stay aborted."""
    if game.reason is not None:
        return game
    if not len(log_probs_TxN):
        return dataclasses.replace(
            game, guess=None, reason="no question was asked"
        )
    guess = int(log_probs_TxN.sum(axis=0).argmax())
    return dataclasses.replace(game, guess=guess)
