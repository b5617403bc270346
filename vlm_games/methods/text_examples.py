"""Which records of text each arm learns from, and as what examples.

    arm          records                     mark and rationale
    main         those that passed checks    as written
    permuted     as main                     of another record
    unchecked    any that could be read      as written
    replay_only  none; rows of the source    -

Every control has at most as many records as main kept.
"""

import collections
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from vlm_games.data.examples import Example, read, said
from vlm_games.games import filters
from vlm_games.games.choice import shuffle_options
from vlm_games.games.instructions import Instructions
from vlm_games.games.prompts import Prompts
from vlm_games.methods.method import (
    MAIN,
    REPLAY_ONLY,
    Selection,
    Stage,
    Workbench,
    count_branches,
)
from vlm_games.methods.text_records import SituationRecord
from vlm_games.report.candidates import CandidateView

PERMUTED, UNCHECKED = "permuted", "unchecked"
ARMS = (MAIN, PERMUTED, UNCHECKED, REPLAY_ONLY)


@dataclasses.dataclass(frozen=True)
class Posed:
    """A record as it is learned.

    Attributes:
      situation, question, rationale: in words.
      options: in the order shown. answer: position of the right one.
    """

    situation: str
    question: str
    options: tuple[str, ...]
    answer: int
    rationale: str


def select(
    records: Sequence[SituationRecord],
    arm: str,
    config,
    bench: Workbench,
    seed: tuple[int, int],
    budget: Mapping[str, int] | None,
) -> Selection:
    """Chooses examples for an arm; see the table above.

    Args:
      config: `config.text`. seed: (seed, iteration).
      budget: main's Selection.budget, for controls.
    """
    draws = ARMS.index(MAIN if arm == PERMUTED else arm)
    rng = np.random.default_rng((*seed, draws))
    chosen = distinct(pool(records, arm))
    if budget is not None and len(chosen) > budget["kept"]:
        some = rng.choice(len(chosen), budget["kept"], replace=False)
        chosen = [chosen[i] for i in np.sort(some)]
    posed = pose(chosen, config.balance, rng)
    if arm == PERMUTED:
        posed = permute(posed, rng)
    examples = {
        "text": [example(p, bench.prompts, bench.instructions) for p in posed]
    }
    stage = Stage(
        "learn",
        lambda params: examples,
        settings=config.learn,
        replay=arm == REPLAY_ONLY,
    )
    marks = collections.Counter(p.answer for p in posed)
    # What is readable has an answer.
    written = collections.Counter(r.answer or 0 for r in records if r.readable)
    return Selection(
        (stage,),
        kept=len(chosen),
        budget={"kept": len(chosen), **count_branches(examples)},
        figures={
            **figures(records, bench),
            "marks_learned": by_mark(marks, config, bench.instructions),
            "marks_written": by_mark(written, config, bench.instructions),
        },
    )


def pool(records: Sequence[SituationRecord], arm: str) -> list[SituationRecord]:
    """The records that an arm may learn from."""
    if arm == REPLAY_ONLY:
        return []
    if arm == UNCHECKED:
        return [r for r in records if r.readable]
    return [r for r in records if r.kept]


def distinct(records: Sequence[SituationRecord]) -> list[SituationRecord]:
    """The first record of every situation and question."""
    found: dict[tuple[str, str], SituationRecord] = {}
    for record in records:
        found.setdefault(record.same, record)
    return list(found.values())


def pose(
    records: Sequence[SituationRecord], balance: bool, rng: np.random.Generator
) -> list[Posed]:
    """The records with their options shuffled.

    With `balance` every mark is right equally often (once more at most, where
    the number of records does not divide by that of the options).
    """
    turns = rng.permutation(len(records)).tolist()
    posed = []
    for record, turn in zip(records, turns, strict=True):
        place = turn % len(record.options) if balance else None
        options, answer = shuffle_options(
            rng, record.options, record.answer or 0, place
        )
        posed.append(
            Posed(
                record.situation,
                record.question,
                options,
                answer,
                record.rationale,
            )
        )
    return posed


def permute(posed: Sequence[Posed], rng: np.random.Generator) -> list[Posed]:
    """Each with the mark and the rationale of another one.

    The marks stay as many; of four options a quarter is right by chance.
    """
    order = rng.permutation(len(posed))
    found = list(posed)
    for i, j in zip(order, np.roll(order, 1), strict=True):
        found[i] = dataclasses.replace(
            posed[i], answer=posed[j].answer, rationale=posed[j].rationale
        )
    return found


def ask(
    situation: str,
    question: str,
    options: Sequence[str],
    prompts: Prompts,
    instructions: Instructions,
) -> str:
    """The whole prompt of a multiple choice about a situation in words."""
    told = instructions.told.format(
        situation=situation,
        question=question,
        options=instructions.list_options(options),
    )
    return prompts.instruct(told, image=False)


def example(
    posed: Posed, prompts: Prompts, instructions: Instructions
) -> Example:
    """A sequence of text; the mark and the rationale are learned."""
    prompt = ask(
        posed.situation, posed.question, posed.options, prompts, instructions
    )
    reply = instructions.choice_said.format(
        answer=instructions.marks[posed.answer], rationale=posed.rationale
    )
    words = (
        read(prompt),
        said(prompts.reply(reply)),
        said(prompts.end, 0.1),
    )
    return Example((), words)


def figures(records: Sequence[SituationRecord], bench: Workbench) -> dict:
    """What metrics.json says of the records as they were written."""
    kept = np.array([r.kept for r in records], bool)
    true = filters.known(r.true for r in records)
    strata = filters.numbered(
        ""
        if r.answer is None
        else bench.stratum(r.question, r.options[r.answer])
        for r in records
    )
    rates = filters.truth_rates(kept, true)
    passed = [r for r in records if r.kept]
    reasons = collections.Counter(r.reason for r in records if r.reason)
    return {
        "readable": sum(r.readable for r in records),
        "checked": len(passed),
        "duplicates": len(passed) - len(distinct(passed)),
        "dropped": dict(sorted(reasons.items())),
        "filters": {
            "checks": {
                "kept": len(passed),
                "of": len(records),
                **rates,
                "lift": filters.stratified_lift(kept, true, strata),
            }
        },
        **rates,
    }


def by_mark(
    counts: Mapping[int, int], config, instructions: Instructions
) -> dict[str, int]:
    """How often each mark is right."""
    marks = instructions.marks[: config.options]
    return {mark: counts.get(i, 0) for i, mark in enumerate(marks)}


def view(
    record: SituationRecord, iteration: int, instructions: Instructions
) -> CandidateView:
    """A record for the page, by its parts as far as it could be read."""
    lines: list[tuple[str, str, bool | None]]
    if record.answer is None:
        lines = [("written", record.written, None)]
    else:
        lines = [
            ("situation", record.situation, None),
            ("question", record.question, None),
            ("options", instructions.list_options(record.options), None),
            ("answer", record.options[record.answer], record.true),
            ("rationale", record.rationale, None),
        ]
    return CandidateView(
        f"Situation {record.number}",
        iteration,
        record.kept,
        record.reason or "",
        [],
        lines,
    )
