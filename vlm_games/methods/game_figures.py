"""What an iteration's games tell: of the filters, and of the talk."""

import collections
import math
from collections.abc import Sequence

import numpy as np

from vlm_games.data.records import GameRecord
from vlm_games.games import filters
from vlm_games.methods.answers import consistent, credited
from vlm_games.methods.method import Workbench
from vlm_games.methods.shares import by_decile


def game_figures(
    records: Sequence[GameRecord], bench: Workbench, config
) -> dict:
    """How varied the talk is; and per filter, how many it keeps and the truth
    of kept and dropped. `config`: `config.game`."""
    complete = [r for r in records if r.outcome != "aborted"]
    truths = [[t.true for t in r.turns] for r in complete]
    strata = [
        [bench.stratum(t.question, t.answer) for t in r.turns] for r in complete
    ]
    table = {}
    for name in records[0].filters if records else ():
        passed = [r.filters[name] for r in complete]
        table[name] = {
            "kept": sum(passed),
            "of": len(records),
            **filters.truth_rates(passed, truths),
            "lift": filters.stratified_lift(passed, truths, strata),
        }
    # The same for single answers, by the credit asked of them.
    turns = [t for r in complete for t in r.turns]
    passed = [t.credit is not None and t.credit > config.credit for t in turns]
    single = [[t.true] for t in turns]
    names = [[bench.stratum(t.question, t.answer)] for t in turns]
    table["credit (answers)"] = {
        "kept": sum(passed),
        "of": len(turns),
        **filters.truth_rates(passed, single),
        "lift": filters.stratified_lift(passed, single, names),
    }
    figures = {}
    if config.consistent:
        table["consistent (answers)"] = consistency(complete, bench, config)
        scored = credited(complete, -math.inf, bench)
        figures["consistency_by_decile"] = by_decile(scored)
    verdict = table.get(config.filter, {})
    return {
        "filters": table,
        **figures,
        **talk_figures(records),
        "truth_kept": verdict.get("truth_kept"),
        "truth_dropped": verdict.get("truth_dropped"),
    }


def consistency(
    complete: Sequence[GameRecord], bench: Workbench, config
) -> dict:
    """What the scores keep of the answers that count by credit."""
    kept_games = [r for r in complete if r.kept]
    found = credited(kept_games, config.credit, bench)
    kept = {a.number for a in consistent(found, config)}
    passed = [a.number in kept for a in found]
    truths = [[a.true] for a in found]
    strata = [[bench.stratum(a.question, a.answer)] for a in found]
    return {
        "kept": len(kept),
        "of": len(found),
        **filters.truth_rates(passed, truths),
        "lift": filters.stratified_lift(passed, truths, strata),
    }


def talk_figures(records: Sequence[GameRecord]) -> dict:
    """How varied the talk of games is."""
    turns = [t for r in records for t in r.turns]
    return variety([t.question for t in turns], [t.answer for t in turns])


def variety(questions: Sequence[str], answers: Sequence[str]) -> dict:
    """How varied talk is: a private vocabulary or a rut shows here.

    Returns:
      distinct_questions: percent of questions that are distinct;
      answer_entropy: of the distribution of answers, bits;
      question_length: mean number of words.
    """
    if not questions:
        return {}
    counts = collections.Counter(answers)
    shares = [n / len(questions) for n in counts.values()]
    return {
        "distinct_questions": 100.0 * len(set(questions)) / len(questions),
        "answer_entropy": -sum(p * math.log2(p) for p in shares),
        "question_length": float(np.mean([len(q.split()) for q in questions])),
    }
