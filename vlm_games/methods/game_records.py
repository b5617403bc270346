"""A played game, and what was found out about it, as it goes to disk."""

from collections.abc import Sequence

import numpy as np

from vlm_games.data.images import ImageSource
from vlm_games.data.records import GameRecord, Openly, Retold, Turn
from vlm_games.games import filters, listener
from vlm_games.methods.method import Workbench
from vlm_games.methods.retell import Retelling


def game_record(
    bench: Workbench,
    images: ImageSource,
    numbers: np.ndarray,
    iteration: int,
    evidence: filters.Evidence,
    judged: np.ndarray,
    retold: Sequence[Retelling | None],
    opened: Sequence[Openly | None],
) -> GameRecord:
    """The record of a game.

    Args:
      images: the unlabelled ones, and copies behind them.
      numbers: int [n], which of them the game's images are places among.
      judged: float [T, N], log-probabilities that give credit.
      retold: what became of every turn that was told again.
      opened: the same of every turn that was put openly.
    """
    game, total = evidence.game, len(bench.images)
    spec, n = game.spec, len(game.spec.images)
    shown = [int(numbers[place]) for place in spec.images]
    target = shown[spec.target]
    copied = [p for p, image in enumerate(shown) if image >= total]
    originals = tuple(target if image >= total else image for image in shown)
    if evidence.shared is None:
        raise ValueError(
            f"game {spec.game}: nobody judged its answers; a record needs "
            "`shared` of its evidence."
        )
    belief = listener.beliefs(evidence.shared)
    last = belief[-1] if len(belief) else np.full(n, 1.0 / n)
    turns = make_turns(bench, evidence, target, belief, judged, retold, opened)
    verdicts = filters.verdicts(evidence)
    aborted = game.reason is not None
    return GameRecord(
        game=spec.game,
        iteration=iteration,
        seed=bench.config.seed,
        images=originals,
        names=tuple(images.names[i] for i in shown),
        target=spec.target,
        turns=turns,
        final_summary=game.final_summary,
        guess=None if aborted else game.guess,
        belief=tuple(last.tolist()),
        outcome=game.outcome,
        reason=game.reason,
        filters=verdicts,
        kept=verdicts[bench.config.game.filter] and not aborted,
        copy=copied[0] if copied else None,
    )


def make_turns(
    bench: Workbench,
    evidence: filters.Evidence,
    target: int,
    belief: np.ndarray,
    judged: np.ndarray,
    retold: Sequence[Retelling | None],
    opened: Sequence[Openly | None],
) -> tuple[Turn, ...]:
    """The turns of a record; other arguments as of `game_record`.

    Args:
      target: its number. belief: float [T, N], after each turn.
    """
    credit = listener.credits(judged, evidence.game.spec.target)
    return tuple(
        Turn(
            question=x.question,
            answer=x.answer,
            summary=x.summary,
            question_logprob=float(x.question_logprob),
            answer_logprob=float(x.answer_logprob),
            belief=tuple(belief[t].tolist()),
            credit=float(credit[t]),
            true=bench.truth(target, x.question, x.answer),
            retold=None if again is None else _retold(again),
            openly=put,
        )
        for t, (x, again, put) in enumerate(
            zip(evidence.game.exchanges, retold, opened, strict=True)
        )
    )


def _retold(again: Retelling) -> Retold:
    return Retold(
        again.question.text,
        again.answer.text,
        again.scored.score,
        again.tokens,
    )
