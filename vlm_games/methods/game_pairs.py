"""Kept games as preferences: what was said there over what was not.

    seat        preferred                     rejected
    Guesser     the guess of a won game       the other image it believed most
    Describer   an answer that main learns    another answer of the run to the
                                              same question: of the same image
                                              in a dropped game, or of another
                                              image

Nobody knows the rejected answer to be wrong: of another image, it is a
contrast by construction. Answers without any rival are left out.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from vlm_games.data.examples import Example, read, said
from vlm_games.data.records import GameRecord
from vlm_games.games.prompts import Prompts
from vlm_games.methods import choose
from vlm_games.methods.answers import telling_answers
from vlm_games.methods.ledger import Answer
from vlm_games.methods.method import Workbench


def pairs(
    records: Sequence[GameRecord], bench: Workbench, seed: tuple[int, ...]
) -> dict[str, list[Example]]:
    """Pairs by seat; the first of an example's two branches is preferred.

    Args:
      records: all games of an iteration. seed: of what is drawn.
    """
    config, rng = bench.config.game, np.random.default_rng((*seed, 77))
    complete = [r for r in records if r.outcome != "aborted"]
    kept = [r for r in complete if r.kept]
    won = [r for r in kept if r.outcome == "success" and r.final_summary]
    answers = telling_answers(kept, config, bench, rng)
    rivals = Rivals(complete)
    contrasted = [(a, rivals.draw(a, rng)) for a in dict.fromkeys(answers)]
    return {
        "guesser": [guess_pair(r, bench.prompts, bench.config) for r in won],
        "describer": [
            answer_pair(answer, other, bench.prompts)
            for answer, other in contrasted
            if other is not None
        ],
    }


def guess_pair(record: GameRecord, prompts: Prompts, config) -> Example:
    """The guess of a won game over the next likely image."""
    must_ask = choose.asks_all(record.game, config.game.asks_all)
    whole = choose.guesser_example(record, prompts, config.play, must_ask)
    *trunk, cue, _ = (dataclasses.replace(p, weight=0.0) for p in whole.trunk)
    others = [k for k in range(len(record.images)) if k != record.target]
    rival = max(others, key=lambda k: record.belief[k])
    branches = tuple(
        (cue, said(prompts.speak(record.final_summary, move)))
        for move in (
            f"{prompts.guess} {place + 1}" for place in (record.target, rival)
        )
    )
    return Example(record.images, tuple(trunk), branches)


def answer_pair(answer: Answer, other: str, prompts: Prompts) -> Example:
    """An answer over another one to the same question."""
    image, question, words = answer
    return Example(
        (image,),
        (read(prompts.describer_trunk()),),
        tuple(
            (
                read(prompts.question_only(question)),
                said(prompts.reply(text)),
                said(prompts.end),
            )
            for text in (words, other)
        ),
    )


class Rivals:
    """Other answers to the questions of a run's games."""

    def __init__(self, complete: Sequence[GameRecord]):
        self._dropped: dict[tuple[int, str], list[str]] = {}
        self._elsewhere: dict[str, list[str]] = {}
        for record in complete:
            image = record.images[record.target]
            for turn in record.turns:
                elsewhere = self._elsewhere.setdefault(turn.question, [])
                elsewhere.append(turn.answer)
                if not record.kept:
                    at = (image, turn.question)
                    self._dropped.setdefault(at, []).append(turn.answer)

    def draw(self, answer: Answer, rng: np.random.Generator) -> str | None:
        """Another answer to the same question; None if the run has none."""
        image, question, words = answer
        for found in (
            self._dropped.get((image, question), ()),
            self._elsewhere.get(question, ()),
        ):
            others = sorted({text for text in found if text != words})
            if others:
                return others[rng.integers(len(others))]
        return None
