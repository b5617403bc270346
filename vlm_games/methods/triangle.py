"""Triangular Consistency (arXiv 2510.10487): pairs that survive reconstruction.

                   +-- (image, question) -> answer again   --+
    image -> pair -+                                         +-> similarity
                   +-- (image, answer)   -> question again --+

A copy of the model is tuned on labelled items to make pairs and to tell their
parts again; the model itself learns the labelled items and the pairs whose
score, sqrt(Sim(Q, Q') * Sim(A, A')), is among the highest of their type.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from vlm_games.data.examples import IMAGE
from vlm_games.data.images import RenderedSource
from vlm_games.games.answer import Answer, Asked, answer
from vlm_games.games.instructions import read_back
from vlm_games.games.play import Role
from vlm_games.methods import similarity as similarities
from vlm_games.methods import triangle_choose as choosing
from vlm_games.methods import triangle_examples as making
from vlm_games.methods.method import (
    REPLAY_ONLY,
    Selection,
    Stage,
    Workbench,
    count_branches,
)
from vlm_games.methods.triangle_record import PairRecord

SIMILARITIES = {
    "overlap": lambda config: similarities.Overlap(),
    "sentences": lambda config: similarities.Sentences(config.embedder),
}
TYPES = ("stratum", "form")


class Triangle:
    """The method; see `methods.method.Method`."""

    record = PairRecord
    arms = choosing.ARMS

    def __init__(self, bench: Workbench):
        self.bench = bench
        self.config = c = bench.config.triangle
        self.similarity = SIMILARITIES[c.similarity](c)
        size = bench.model.vision.image_size
        self.source = RenderedSource("source/replay", c.seeds, size)
        seed, agree = bench.config.seed, bench.config.recipe.agree
        self.items = making.seed_items(self.source, (seed, 91), agree)

    def shards(self) -> int:
        return -(-self.config.images // self.config.shard)

    def warm_up(self, arm: str, iteration: int) -> tuple[Stage, ...]:
        """Multi-task tuning on labelled items; what is hidden is drawn anew
        in every iteration."""

        def examples(params):
            bench = self.bench
            rng = np.random.default_rng((bench.config.seed, iteration, 92))
            found = making.tuning_examples(
                self.items,
                tuple(self.config.hidden),
                bench.instructions,
                bench.prompts,
                rng,
            )
            return {"seed": found}

        settings = self.config.tune.to_dict()
        images = {"seed": self.source}
        return (Stage("tune", examples, settings=settings, images=images),)

    def prepare(self, params, iteration: int) -> np.ndarray:
        """The images that are asked about, int [images]."""
        return draw_images(
            len(self.bench.images),
            self.config.images,
            self.bench.config.seed,
            iteration,
        )

    def candidates(
        self, params, prepared: np.ndarray, iteration: int, shard: int
    ) -> list[PairRecord]:
        c, bench = self.config, self.bench
        first = shard * c.shard
        images = prepared[first : first + c.shard].tolist()
        pixels = np.stack([bench.images[i] for i in images])
        role = Role(params, bench.engine.encode(params, pixels))
        said = self._make_pairs(role, iteration, first, len(images))
        read = [self._read(words) for words in said]
        places = [i for i, pair in enumerate(read) if pair is not None]
        pairs = {i: read[i] for i in places}
        again = self._tell_again(role, iteration, first, pairs)
        scored = self._score(pairs, again)
        records = []
        for i, image in enumerate(images):
            records.append(
                PairRecord(
                    number=first + i,
                    iteration=iteration,
                    seed=bench.config.seed,
                    image=image,
                    name=bench.images.names[image],
                    said=said[i].text,
                    **self._told(image, pairs.get(i), again.get(i)),
                    **scored.get(i, UNSCORED),
                    tokens=said[i].tokens
                    + sum(x.tokens for x in again.get(i, ())),
                )
            )
        return records

    def _make_pairs(
        self, role: Role, iteration: int, first: int, count: int
    ) -> list[Answer]:
        """What was said when pairs were asked for, per image."""
        c, bench = self.config, self.bench
        asked = [
            Asked(
                i,
                making.ask_pair(
                    bench.instructions,
                    bench.prompts,
                    self._draws(iteration, first + i),
                ),
                (first + i, 0),
            )
            for i in range(count)
        ]
        frame = bench.instructions.pair_said.format(question="", answer="")
        frame = len(bench.tokenizer.encode(frame))
        limit = c.question_tokens + c.answer_tokens + frame + 1
        seed = (bench.config.seed, iteration)
        return self._answer(role, asked, limit, c.temperature, seed)

    def _answer(self, role, asked, limit, temperature=0.0, seed=(0,)):
        bench = self.bench
        return answer(
            bench.engine,
            bench.tokenizer,
            role,
            asked,
            limit,
            temperature,
            seed,
            rows=self.config.rows,
        )

    def _draws(self, iteration: int, number: int) -> np.random.Generator:
        """Which of several instructions a pair is asked for with."""
        seed = self.bench.config.seed
        return np.random.default_rng((seed, iteration, 93, number))

    def _read(self, words: Answer) -> tuple[str, str] | None:
        """(question, answer) of a pair that came to an end by itself."""
        found = read_back(self.bench.instructions.pair_said, words.text)
        if found is None or not words.ended or IMAGE in words.text:
            return None
        return found["question"], found["answer"]

    def _tell_again(
        self,
        role: Role,
        iteration: int,
        first: int,
        pairs: Mapping[int, tuple[str, str]],
    ) -> dict[int, tuple[Answer, Answer]]:
        """Per pair, (question, answer) told of the rest; all in one pass."""
        c, bench = self.config, self.bench
        asked = []
        for i, (question, said) in pairs.items():
            prompt = making.ask_for(
                said,
                bench.instructions,
                bench.prompts,
                self._draws(iteration, first + i),
            )
            asked.append(Asked(i, prompt))
            asked.append(Asked(i, bench.prompts.ask_describer(question)))
        limit = max(c.question_tokens, c.answer_tokens)
        found = iter(self._answer(role, asked, limit))
        return {i: (next(found), next(found)) for i in pairs}

    def _score(
        self,
        pairs: Mapping[int, tuple[str, str]],
        again: Mapping[int, tuple[Answer, Answer]],
    ) -> dict[int, dict]:
        """Form and similarities of each pair, as the record's fields."""
        forms = [self.form(*pair) for pair in pairs.values()]
        sides = [
            [
                (self._plain(pair[side]), self._plain(again[i][side].text))
                for i, pair in pairs.items()
            ]
            for side in (0, 1)
        ]
        found = similarities.compare(self.similarity, forms, *sides)
        return {
            i: {
                "form": form,
                "similarity_question": x.question,
                "similarity_answer": x.answer,
                "score": x.score,
            }
            for i, form, x in zip(pairs, forms, found, strict=True)
        }

    def form(self, question: str, said: str) -> str:
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

    def _told(
        self,
        image: int,
        pair: tuple[str, str] | None,
        again: tuple[Answer, Answer] | None,
    ) -> dict:
        """Fields of the record that are words, and what they are of."""
        if pair is None or again is None:
            return dict.fromkeys(WORDS)
        kind = self.form(*pair)
        if self.config.types == "stratum":
            kind = self.bench.stratum(*pair).partition("/")[0]
        values = *pair, *(x.text for x in again), kind
        true = self.bench.truth(image, *pair)
        return dict(zip(WORDS, (*values, true), strict=True))

    def tokens_said(self, record: PairRecord) -> int:
        return record.tokens

    def select(
        self,
        records: Sequence[PairRecord],
        arm: str,
        iteration: int,
        budget: Mapping[str, int] | None,
    ) -> Selection:
        c, bench = self.config, self.bench
        pairs = choosing.choose_pairs(
            records,
            arm,
            c.keep,
            bench,
            (bench.config.seed, iteration),
            None if budget is None else budget["kept"],
        )
        items = [] if arm == REPLAY_ONLY else self.items
        examples = {
            "pair": making.answering(pairs, bench.prompts),
            "seed": making.answering(items, bench.prompts),
        }
        settings = c.learn.to_dict()
        if arm == choosing.SEEDS_ONLY:
            settings["rows"]["seed"] += settings["rows"]["pair"]
        stage = Stage(
            "learn",
            lambda params: examples,
            settings=settings,
            images={"seed": self.source},
        )
        return Selection(
            (stage,),
            kept=len(pairs),
            budget={"kept": len(pairs), **count_branches(examples)},
            figures=choosing.pair_figures(records, c.keep, bench),
        )


UNSCORED = dict.fromkeys(
    ("form", "similarity_question", "similarity_answer", "score")
)
WORDS = (
    "question",
    "answer",
    "question_again",
    "answer_again",
    "kind",
    "true",
)


def draw_images(
    total: int, count: int, seed: int, iteration: int
) -> np.ndarray:
    """Numbers of the images of an iteration, from 1 on; int [count].

    No image comes again, in this iteration or another, before all have come.
    """
    start, found = (iteration - 1) * count, []
    while len(found) < count:
        round_, offset = divmod(start + len(found), total)
        order = np.random.default_rng((seed, 94, round_)).permutation(total)
        found += order[offset : offset + count - len(found)].tolist()
    return np.array(found)
