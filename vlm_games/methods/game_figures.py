"""What an iteration's games tell: of the filters, and of the talk."""

import collections
import math
from collections.abc import Collection, Sequence

import numpy as np

from vlm_games.games import filters
from vlm_games.methods.answers import (
    consistent,
    credited,
    scored,
    surest,
    upheld,
)
from vlm_games.methods.ledger import Ledger
from vlm_games.methods.shares import by_decile


def game_figures(ledger: Ledger, config) -> dict:
    """How varied the talk is; and per filter, how many it keeps and the truth
    of kept and dropped. `config`: `config.game`."""
    complete = ledger.complete
    turns = ledger.turns_of(complete)
    table = {}
    for name, verdicts in ledger.filters.items():
        passed = complete & (verdicts == 1)
        table[name] = {
            "kept": int(passed.sum()),
            "of": len(passed),
            **worth(ledger, turns, passed[ledger.games[turns]]),
        }
    # The same for single answers, by the credit asked of them.
    passed = ledger.credit[turns] > config.credit  # unknown credit is none
    table["credit (answers)"] = of_answers(ledger, turns, passed)
    figures = {}
    found = credited(ledger, complete & ledger.kept, config.credit)
    if config.openly:
        chosen = upheld(ledger, found)
        passed = np.isin(found, chosen)
        table["openly (answers)"] = of_answers(ledger, found, passed)
        found = chosen
    if config.sure:
        chosen = surest(ledger, found, config)
        passed = np.isin(found, chosen)
        table["sure (answers)"] = of_answers(ledger, found, passed)
        found = chosen
    if config.consistent:
        passed = np.isin(found, consistent(ledger, found, config))
        table["consistent (answers)"] = of_answers(ledger, found, passed)
        ranked = scored(ledger, turns)
        figures["consistency_by_decile"] = by_decile(ranked)
    verdict = table.get(config.filter, {})
    return {
        "filters": table,
        **figures,
        **talk_figures(ledger),
        "truth_kept": verdict.get("truth_kept"),
        "truth_dropped": verdict.get("truth_dropped"),
    }


def of_answers(ledger: Ledger, turns: np.ndarray, passed: np.ndarray) -> dict:
    """Of single answers, how many are kept, and the truth.

    Args:
      turns: int [n], the answers. passed: bool [n].
    """
    return {
        "kept": int(passed.sum()),
        "of": len(turns),
        **worth(ledger, turns, passed),
    }


def worth(ledger: Ledger, turns: np.ndarray, passed: np.ndarray) -> dict:
    """The truth of kept and dropped answers; arguments as of `of_answers`."""
    true = ledger.true[turns]
    strata = ledger.strata[turns]
    return {
        **filters.truth_rates(passed, true),
        "lift": filters.stratified_lift(passed, true, strata),
    }


def talk_figures(ledger: Ledger) -> dict:
    """How varied the talk of games is."""
    return _variety(
        len(np.unique(ledger.questions)),
        np.bincount(ledger.answers).tolist(),
        ledger.length,
    )


def variety(questions: Sequence[str], answers: Sequence[str]) -> dict:
    """How varied talk is: a private vocabulary or a rut shows here.

    Returns:
      distinct_questions: percent of questions that are distinct;
      answer_entropy: of the distribution of answers, bits;
      question_length: mean number of words.
    """
    return _variety(
        len(set(questions)),
        collections.Counter(answers).values(),
        sum(len(question.split()) for question in questions),
    )


def _variety(distinct: int, answers: Collection[int], length: int) -> dict:
    """`answers`: how often each is given. `length`: of all questions."""
    count = sum(answers)
    if not count:
        return {}
    shares = [n / count for n in answers]
    return {
        "distinct_questions": 100.0 * distinct / count,
        "answer_entropy": -sum(p * math.log2(p) for p in shares),
        "question_length": length / count,
    }
