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
from vlm_games.data.fetch import fetch
from vlm_games.data.images import RenderedSource
from vlm_games.games.answer import Answer, Asked, answer
from vlm_games.games.instructions import read_back
from vlm_games.games.play import Role
from vlm_games.methods import estimates
from vlm_games.methods import triangle_choose as choosing
from vlm_games.methods import triangle_examples as making
from vlm_games.methods.drawing import draw_images
from vlm_games.methods.estimates import Estimate, Sizes
from vlm_games.methods.method import (
    REPLAY_ONLY,
    Made,
    Selection,
    Stage,
    Surroundings,
    Workbench,
    count_branches,
    unheard,
)
from vlm_games.methods.retell import Pair, Reteller, Retelling
from vlm_games.methods.triangle_record import NOT_READ, PairRecord
from vlm_games.report.candidates import CandidateView, foremost

TYPES = ("stratum", "form")


class Triangle:
    """The method; see `methods.method.Method`."""

    record = PairRecord
    unit = "pair"
    arms: tuple[str, ...] = choosing.ARMS
    standard = "bottom"
    idle: tuple[str, ...] = (choosing.SEEDS_ONLY, REPLAY_ONLY)

    def __init__(self, bench: Workbench):
        self.bench = bench
        self.config = c = bench.config.triangle
        self.reteller = Reteller(bench)
        size = bench.model.vision.image_size
        self.source = RenderedSource("source/replay", c.seeds, size)
        seed, agree = bench.config.seed, bench.config.recipe.agree
        self.items = making.seed_items(self.source, (seed, 91), agree)

    @staticmethod
    def estimate(sizes: Sizes) -> Estimate:
        return estimates.triangle(sizes)

    @property
    def count(self) -> int:
        return self.config.images

    def shards(self) -> int:
        return -(-self.count // self.config.shard)

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

        stage = Stage(
            "tune",
            examples,
            settings=self.config.tune.to_dict(),
            images={"seed": self.source},
        )
        return (stage,)

    def prepare(self, params, iteration: int) -> tuple[int, ...]:
        """The images that are asked about, one per candidate."""
        seed, total = (self.bench.config.seed, 94), len(self.bench.images)
        return draw_images(total, self.config.images, seed, iteration)

    def candidates(
        self,
        params,
        prepared: tuple[int, ...],
        iteration: int,
        shard: int,
        made: Made = unheard,
    ) -> list[PairRecord]:
        c, bench = self.config, self.bench
        first = shard * c.shard
        images = prepared[first : first + c.shard]
        pixels = fetch(bench.images, images, bench.config.image_workers)
        role = Role(params, bench.engine.encode(params, pixels))
        said = self._make_pairs(role, iteration, first, len(images), made)
        pairs = {
            i: pair
            for i, pair in enumerate(map(self._read, said))
            if pair is not None
        }
        asked = [
            Pair(i, *pair, self._draws(iteration, first + i))
            for i, pair in pairs.items()
        ]
        told = self.reteller.retell(role, asked)
        retold = zip(pairs.values(), told, strict=True)
        found = dict(zip(pairs, retold, strict=True))
        return [
            PairRecord(
                number=first + i,
                iteration=iteration,
                seed=bench.config.seed,
                image=image,
                name=bench.images.names[image],
                said=said[i].text,
                **self._told(image, said[i], found.get(i)),
            )
            for i, image in enumerate(images)
        ]

    def _make_pairs(
        self, role: Role, iteration: int, first: int, count: int, made: Made
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
        words = bench.instructions.pair_said.format(question="", answer="")
        frame = len(bench.tokenizer.encode(words))
        limit = c.question_tokens + c.answer_tokens + frame + 1
        seed = (bench.config.seed, iteration)
        return answer(
            bench.engine,
            bench.tokenizer,
            role,
            asked,
            limit,
            c.temperature,
            seed,
            rows=c.rows,
            told=made,
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

    def _told(
        self,
        image: int,
        said: Answer,
        found: tuple[tuple[str, str], Retelling] | None,
    ) -> dict:
        """What the record tells of a pair.

        Args:
          found: the pair and its retelling; None if it could not be read.
        """
        if found is None:
            return {"tokens": said.tokens, **NOT_READ}
        pair, again = found
        return {
            "tokens": said.tokens + again.tokens,
            "question": pair[0],
            "answer": pair[1],
            "kind": self._kind(pair, again.form),
            "form": again.form,
            "question_again": again.question.text,
            "answer_again": again.answer.text,
            "similarity_question": again.scored.question,
            "similarity_answer": again.scored.answer,
            "score": again.scored.score,
            "true": self.bench.truth(image, *pair),
        }

    def _kind(self, pair: tuple[str, str], form: str) -> str:
        """The type within which pairs are ranked."""
        if self.config.types == "form":
            return form
        return self.bench.stratum(*pair).partition("/")[0]

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
            c,
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
            figures=choosing.pair_figures(records, c, bench),
        )

    def show(
        self, records: Sequence[PairRecord], iteration: int, most: int
    ) -> list[CandidateView]:
        return foremost(self.views(records, iteration, self.bench), most)

    @staticmethod
    def views(
        records: Sequence[PairRecord], iteration: int, around: Surroundings
    ) -> list[CandidateView]:
        kept = choosing.best(records, around.config.triangle)
        return [r.view(around, r.number in kept) for r in records]
