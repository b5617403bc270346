"""A question and its answer, each told again of the image and the other.

    (image, question) -> answer again   --+
                                          +-> similarity, from 0 to 1
    (image, answer)   -> question again --+

As in Triangular Consistency (arXiv 2510.10487), whose settings it takes:
greedily, and all pairs in one batched pass.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vlm_games.games.answer import Answer, Asked, answer
from vlm_games.games.play import Role
from vlm_games.methods import similarity as similarities
from vlm_games.methods import triangle_examples as making
from vlm_games.methods.method import Workbench

SIMILARITIES: dict[str, Callable[[Any], similarities.Similarity]] = {
    "overlap": lambda config: similarities.Overlap(),
    "sentences": lambda config: similarities.Sentences(config.embedder),
}


@dataclasses.dataclass(frozen=True)
class Pair:
    """What is to be told again.

    Attributes:
      image: its number in the bank.
      question, answer: what was said of it.
      rng: draws the instruction that asks for the question.
    """

    image: int
    question: str
    answer: str
    rng: np.random.Generator


@dataclasses.dataclass(frozen=True)
class Retelling:
    """What became of a pair.

    Attributes:
      question, answer: as they were told again.
      form: what was compared, of `similarity.FORMS`. scored: how alike.
    """

    question: Answer
    answer: Answer
    form: str
    scored: similarities.Scored

    @property
    def tokens(self) -> int:
        """How many were said for it."""
        return self.question.tokens + self.answer.tokens


class Reteller:
    """Has pairs told again, by the settings of `config.triangle`."""

    def __init__(self, bench: Workbench):
        self.bench = bench
        self.config = c = bench.config.triangle
        self._similarity = SIMILARITIES[c.similarity](c)

    def retell(self, role: Role, pairs: Sequence[Pair]) -> list[Retelling]:
        """What becomes of all pairs, in order.

        Args:
          role: who tells them again, and how it sees the images.
        """
        c, bench = self.config, self.bench
        asked = []
        for pair in pairs:
            prompt = making.ask_for(
                pair.answer, bench.instructions, bench.prompts, pair.rng
            )
            asked.append(Asked(pair.image, prompt))
            prompt = bench.prompts.ask_describer(pair.question)
            asked.append(Asked(pair.image, prompt))
        limit = max(c.question_tokens, c.answer_tokens)
        found = answer(
            bench.engine, bench.tokenizer, role, asked, limit, rows=c.rows
        )
        return self._compare(pairs, found[::2], found[1::2])

    def _compare(
        self,
        pairs: Sequence[Pair],
        questions: Sequence[Answer],
        answers: Sequence[Answer],
    ) -> list[Retelling]:
        forms = [self._form(pair.question, pair.answer) for pair in pairs]
        scored = similarities.compare(
            self._similarity,
            forms,
            [
                (self._plain(pair.question), self._plain(again.text))
                for pair, again in zip(pairs, questions, strict=True)
            ],
            [
                (self._plain(pair.answer), self._plain(again.text))
                for pair, again in zip(pairs, answers, strict=True)
            ],
        )
        found = zip(questions, answers, forms, scored, strict=True)
        return [Retelling(*parts) for parts in found]

    def _form(self, question: str, said: str) -> str:
        """What is compared of a pair; see `similarity.form_of`."""
        x = self.bench.instructions
        marks = [x.option.format(mark=m, option="").strip() for m in x.marks]
        asking = (*x.describe, *x.careful)
        long = self.config.long_answer
        return similarities.form_of(question, said, marks, asking, long)

    def _plain(self, text: str) -> str:
        """Without instructions that stand in many questions alike."""
        for words in self.config.fixed:
            text = text.replace(words, " ")
        return text
