"""Which pairs each arm learns from, and what the scores were worth.

    arm          pairs                              labelled items
    main         most consistent share of a type    beside
    bottom       least consistent share, as large   beside
    all_pairs    any share, as large                beside
    shuffled     as main, answers permuted          beside
    seeds_only   none                               in the pairs' rows, too
    replay_only  none                               none

No control has more pairs than main; all have as many steps and rows, but for
"replay_only". Figures of truth are for measuring: nothing is chosen by them.
"""

import collections
import math
from collections.abc import Callable, Sequence

import numpy as np
from ml_collections import ConfigDict

from vlm_games.games import filters
from vlm_games.methods.choose import Answer, shuffle_answers
from vlm_games.methods.game_figures import variety
from vlm_games.methods.method import MAIN, REPLAY_ONLY, Workbench
from vlm_games.methods.triangle_record import PairRecord

SEEDS_ONLY = "seeds_only"
ARMS = (MAIN, "bottom", "all_pairs", "shuffled", SEEDS_ONLY, REPLAY_ONLY)


def choose_pairs(
    records: Sequence[PairRecord],
    arm: str,
    config,
    bench: Workbench,
    seed: tuple[int, int],
    most: int | None,
) -> list[Answer]:
    """(image, question, answer) of the pairs that an arm learns from.

    Args:
      config: `config.triangle`. seed: (seed, iteration).
      most: how many pairs a control may have.
    """
    if arm in (SEEDS_ONLY, REPLAY_ONLY):
        return []
    rng = np.random.default_rng((*seed, ARMS.index(arm)))
    found = [r for r in records if r.score is not None]
    if arm == "all_pairs":  # as many of each type, whatever they score
        luck = rng.random(len(found))
        by = dict(zip((r.number for r in found), luck, strict=True))
        found = share_of_types(found, config, lambda r: by[r.number])
    else:
        rank = lowest if arm == "bottom" else highest
        found = share_of_types(found, config, rank)
    if most is not None and len(found) > most:
        places = np.sort(rng.choice(len(found), most, replace=False))
        found = [found[i] for i in places]
    pairs = [(r.image, r.read.question, r.read.answer) for r in found]
    return shuffle_answers(pairs, bench, rng) if arm == "shuffled" else pairs


def highest(record: PairRecord):
    """Ranks by score; of equal ones the lower number comes first."""
    return -record.read.score, record.number


def lowest(record: PairRecord):
    """The other way round, but for equal scores."""
    return record.read.score, record.number


def share_of_types(
    records: Sequence[PairRecord], config, rank: Callable
) -> list[PairRecord]:
    """The first of each type, by number.

    How many they are depends on the types and answers alone: it is the same
    for every ranking. Shares are rounded, halves up.

    Args:
      records: with scores.
      config: `config.triangle`: `keep`, the share; `balance`, whether an
        answer may be no more frequent than the runner-up of its type.
      rank: key to sort by.
    """
    types: dict[str, list[PairRecord]] = {}
    for record in records:
        types.setdefault(record.read.kind, []).append(record)
    kept = []
    for same in types.values():
        counts = dict(collections.Counter(r.read.answer for r in same))
        if config.balance:
            runner_up = sorted([0, *counts.values()])[-2]
            counts = {a: min(n, runner_up) for a, n in counts.items()}
            room = {a: math.ceil(config.keep * n) for a, n in counts.items()}
        else:
            room = dict(counts)
        left = int(config.keep * sum(counts.values()) + 0.5)
        for record in sorted(same, key=rank):
            answer = record.read.answer
            if left and room[answer]:
                kept.append(record)
                left, room[answer] = left - 1, room[answer] - 1
    return sorted(kept, key=lambda r: r.number)


def pair_figures(
    records: Sequence[PairRecord], config, bench: Workbench
) -> dict:
    """How many pairs are kept of each type, and how true, by score."""
    found = [r for r in records if r.score is not None]
    kept = {r.number for r in share_of_types(found, config, highest)}
    passed = [r.number in kept for r in found]
    truths = [[r.true] for r in found]
    strata = [[bench.stratum(r.read.question, r.read.answer)] for r in found]
    rates = filters.truth_rates(passed, truths)
    types = sorted({r.read.kind for r in found})
    return {
        "filters": {
            "triangle": {
                "kept": len(kept),
                "of": len(records),
                **rates,
                "lift": filters.stratified_lift(passed, truths, strata),
            }
        },
        **rates,
        **variety(
            [r.read.question for r in found], [r.read.answer for r in found]
        ),
        "pairs": {
            "readable": len(found),
            "mean_score": _mean([r.read.score for r in found]),
            "made_by_type": {t: _count(found, t) for t in types},
            "kept_by_type": {
                t: _count([r for r in found if r.number in kept], t)
                for t in types
            },
            "by_decile": by_decile(found),
        },
    }


def by_decile(records: Sequence[PairRecord]) -> list[dict]:
    """Whether a high score is a sign of truth: tenths of the pairs by score.

    Returns:
      lowest first, of those that have pairs: `score`, their mean; `true`,
      percent of those of which it is known, or None; `pairs`, how many.
    """
    ranked = sorted(records, key=lambda r: (r.score, r.number))
    ends = [len(ranked) * i // 10 for i in range(11)]
    tenths = [
        ranked[a:b] for a, b in zip(ends[:-1], ends[1:], strict=True) if b > a
    ]
    found = []
    for tenth in tenths:
        true = _mean([r.true for r in tenth if r.true is not None])
        found.append(
            {
                "score": _mean([r.read.score for r in tenth]),
                "true": None if true is None else 100.0 * true,
                "pairs": len(tenth),
            }
        )
    return found


def _count(records: Sequence[PairRecord], kind: str) -> int:
    return sum(r.kind == kind for r in records)


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def check_settings(config: ConfigDict) -> None:
    """Raises ValueError if fields of config.triangle have no sense."""
    if not 0 < config.keep <= 1:
        raise ValueError(
            f"config.triangle.keep={config.keep}: the share of the pairs to "
            "keep is above 0 and at most 1; 0.2 keeps a fifth."
        )
    shares = tuple(config.hidden)
    if (
        len(shares) != 3
        or min(shares) < 0
        or not np.isclose(sum(shares), 1.0, atol=1e-6)
    ):
        raise ValueError(
            f"config.triangle.hidden={shares}: expected three shares, from 0, "
            "that add up to 1: of items whose question and answer are hidden, "
            "the question, and the answer; such as (0.5, 0.2, 0.3)."
        )
