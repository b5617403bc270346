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

from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict

from vlm_games.games import filters
from vlm_games.methods.answers import shuffle_answers
from vlm_games.methods.game_figures import variety
from vlm_games.methods.ledger import Answer
from vlm_games.methods.method import MAIN, REPLAY_ONLY, Workbench
from vlm_games.methods.shares import (
    by_decile,
    highest,
    lowest,
    mean,
    share_of_types,
)
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
        found = share_of_types(
            found, config.keep, config.balance, lambda r: by[r.number]
        )
    else:
        rank = lowest if arm == "bottom" else highest
        found = share_of_types(found, config.keep, config.balance, rank)
    if most is not None and len(found) > most:
        places = np.sort(rng.choice(len(found), most, replace=False))
        found = [found[i] for i in places]
    pairs = [(r.image, r.read.question, r.read.answer) for r in found]
    return shuffle_answers(pairs, bench, rng) if arm == "shuffled" else pairs


def best(records: Sequence[PairRecord], config) -> set[int]:
    """Numbers of the pairs that main keeps; config: `config.triangle`."""
    found = [r for r in records if r.score is not None]
    kept = share_of_types(found, config.keep, config.balance, highest)
    return {r.number for r in kept}


def pair_figures(
    records: Sequence[PairRecord], config, bench: Workbench
) -> dict:
    """How many pairs are kept of each type, and how true, by score."""
    found = [r for r in records if r.score is not None]
    kept = best(records, config)
    passed = np.array([r.number in kept for r in found], bool)
    true = filters.known(r.true for r in found)
    strata = filters.numbered(
        bench.stratum(r.read.question, r.read.answer) for r in found
    )
    rates = filters.truth_rates(passed, true)
    types = sorted({r.read.kind for r in found})
    return {
        "filters": {
            "triangle": {
                "kept": len(kept),
                "of": len(records),
                **rates,
                "lift": filters.stratified_lift(passed, true, strata),
            }
        },
        **rates,
        **variety(
            [r.read.question for r in found], [r.read.answer for r in found]
        ),
        "pairs": {
            "readable": len(found),
            "mean_score": mean([r.read.score for r in found]),
            "made_by_type": {t: _count(found, t) for t in types},
            "kept_by_type": {
                t: _count([r for r in found if r.number in kept], t)
                for t in types
            },
            "by_decile": by_decile(found),
        },
    }


def _count(records: Sequence[PairRecord], kind: str) -> int:
    return sum(r.kind == kind for r in records)


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
