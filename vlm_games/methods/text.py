"""Training on text alone (arXiv 2503.16965 v1), to be better with images.

    words of the model -> situation, question, options, answer, rationale
                       -> the answer asked again, options shuffled
                       -> examples of text; vision and connector are untouched

The records are written by the language model of the VLM itself, which sees no
image. What is learned, to name the right option of a situation, is measured
with images.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from absl import logging

from vlm_games.games.answer import Answer, Asked, answer, without_images
from vlm_games.games.play import Role
from vlm_games.methods import estimates, text_examples
from vlm_games.methods.estimates import Estimate, Sizes
from vlm_games.methods.method import (
    MAIN,
    REPLAY_ONLY,
    Made,
    Selection,
    Stage,
    Surroundings,
    Workbench,
    unheard,
)
from vlm_games.methods.text_records import (
    UNFINISHED,
    UNREADABLE,
    UNSURE,
    SituationRecord,
    Written,
    check_orders,
    read_checks,
    read_written,
)
from vlm_games.report.candidates import CandidateView, foremost


class TextOnly:
    """The method; see `methods.method.Method`."""

    record = SituationRecord
    unit = "situation"
    arms: tuple[str, ...] = text_examples.ARMS
    standard = text_examples.PERMUTED
    idle: tuple[str, ...] = (REPLAY_ONLY,)

    def __init__(self, bench: Workbench):
        """Raises ValueError for options or lengths that cannot be."""
        self.bench, self.config = bench, bench.config.text
        self._check_config()

    @staticmethod
    def estimate(sizes: Sizes) -> Estimate:
        return estimates.text(sizes)

    @property
    def count(self) -> int:
        return self.config.records

    def shards(self) -> int:
        return -(-self.count // self.config.shard)

    def warm_up(self, arm: str, iteration: int) -> tuple[Stage, ...]:
        return ()

    def prepare(self, params, iteration: int) -> Role:
        """Who writes and answers; no image is looked at."""
        return without_images(self.bench.engine, params)

    def candidates(
        self,
        params,
        prepared: Role,
        iteration: int,
        shard: int,
        made: Made = unheard,
    ) -> list[SituationRecord]:
        c = self.config
        first = shard * c.shard
        numbers = range(first, min(first + c.shard, c.records))
        said = self._say(
            prepared,
            [
                Asked(None, self._instruction(n, iteration), (n, 0))
                for n in numbers
            ],
            c.tokens,
            c.temperature,
            iteration,
            made,
        )
        records = [
            self._record(number, iteration, words)
            for number, words in zip(numbers, said, strict=True)
        ]
        return self._ask_again(prepared, records, iteration)

    def _say(
        self, role, asked, limit, temperature, iteration, told: Made = unheard
    ) -> list[Answer]:
        bench = self.bench
        seed = (bench.config.seed, iteration)
        return answer(
            bench.engine,
            bench.tokenizer,
            role,
            asked,
            limit,
            temperature,
            seed,
            self.config.rows,
            told,
        )

    def _instruction(self, number: int, iteration: int) -> str:
        """One of the pool, as a prompt."""
        rng = self._rng(iteration, number, 0)
        instructions = self.bench.instructions.situation
        drawn = instructions[rng.integers(len(instructions))]
        return self.bench.prompts.instruct(drawn, image=False)

    def _rng(self, iteration: int, number: int, what: int):
        seed = self.bench.config.seed
        return np.random.default_rng((seed, iteration, number, what))

    def _record(
        self, number: int, iteration: int, words: Answer
    ) -> SituationRecord:
        """A record before it is checked."""
        bench = self.bench
        if not words.ended:
            read = Written(reason=UNFINISHED)
        elif bench.tokenizer.image_id in bench.tokenizer.encode(words.text):
            # Spelled out letter by letter; read again it would be an image.
            read = Written(reason=UNREADABLE)
        else:
            read = read_written(
                bench.instructions, self.config.options, words.text
            )
        true = None
        if read.answer is not None:
            true = bench.told_truth(
                read.situation, read.question, read.options[read.answer]
            )
        return SituationRecord(
            number=number,
            iteration=iteration,
            seed=bench.config.seed,
            written=words.text,
            **vars(read),
            checks=(),
            kept=read.reason is None,
            tokens=words.tokens,
            true=true,
        )

    def _ask_again(
        self, role, records: Sequence[SituationRecord], iteration: int
    ) -> list[SituationRecord]:
        """The records with what was answered to their checks, in one batch."""
        c, bench = self.config, self.bench
        orders = {
            r.number: check_orders(
                self._rng(iteration, r.number, 1), c.options, r.answer, c.checks
            )
            for r in records
            if r.readable and r.answer is not None
        }
        asked = [
            Asked(
                None,
                text_examples.ask(
                    r.situation,
                    r.question,
                    [r.options[i] for i in order],
                    bench.prompts,
                    bench.instructions,
                ),
                (r.number, 1 + k),
            )
            for r in records
            for k, order in enumerate(orders.get(r.number, ()))
        ]
        said = iter(self._say(role, asked, c.choice_tokens, 0.0, iteration))
        return [
            self._checked(r, orders[r.number], [next(said) for _ in shown])
            if (shown := orders.get(r.number))
            else r
            for r in records
        ]

    def _checked(self, record, orders, said: Sequence[Answer]):
        """The record with the verdict of its checks."""
        marks = self.bench.instructions.marks[: self.config.options]
        checks = read_checks(orders, [words.text for words in said], marks)
        kept = all(found == record.answer for found in checks)
        return dataclasses.replace(
            record,
            checks=checks,
            kept=kept,
            reason=None if kept else UNSURE,
            tokens=record.tokens + sum(words.tokens for words in said),
        )

    def tokens_said(self, record: SituationRecord) -> int:
        return record.tokens

    def select(
        self,
        records: Sequence[SituationRecord],
        arm: str,
        iteration: int,
        budget: Mapping[str, int] | None,
    ) -> Selection:
        seed = (self.bench.config.seed, iteration)
        found = text_examples.select(
            records, arm, self.config, self.bench, seed, budget
        )
        if arm == MAIN and not found.kept:
            logging.warning(
                "%s %d: nothing to learn from: of %d records none was kept "
                "(%s). A base must be able to write them: see "
                "docs/methods/text.md.",
                arm,
                iteration,
                len(records),
                ", ".join(
                    f"{count} {reason}"
                    for reason, count in found.figures["dropped"].items()
                ),
            )
        return found

    def show(
        self, records: Sequence[SituationRecord], iteration: int, most: int
    ) -> list[CandidateView]:
        return foremost(self.views(records, iteration, self.bench), most)

    @staticmethod
    def views(
        records: Sequence[SituationRecord],
        iteration: int,
        around: Surroundings,
    ) -> list[CandidateView]:
        marks = around.instructions
        return [text_examples.view(r, iteration, marks) for r in records]

    def _check_config(self) -> None:
        """What would else fail after hours of writing."""
        c, bench = self.config, self.bench
        if c.options < 2:
            raise ValueError(
                f"config.text.options={c.options}: a choice needs 2 or "
                "more: raise it."
            )
        # Too many for the marks is an error here already.
        empty = text_examples.Posed("", "", ("",) * c.options, 0, "")
        frame = text_examples.example(empty, bench.prompts, bench.instructions)
        around = sum(
            len(bench.tokenizer.encode(piece.text)) for piece in frame.trunk
        )
        length = c.learn.lengths.text
        if length < c.tokens + around:
            raise ValueError(
                f"config.text.learn.lengths.text={length}: a record of "
                f"config.text.tokens={c.tokens} and the {around} tokens of the "
                f"prompt around it need {c.tokens + around}: raise it to that, "
                "or lower config.text.tokens."
            )
