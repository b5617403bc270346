"""STIC (arXiv 2405.19716): prefer own descriptions that stay with the image.

    image --+-- a careful instruction ---------------------->  chosen
            +-- an invitation to invent, or                    rejected
                a plain instruction on the image corrupted -/

    prefer   (clean image, plain instruction): chosen over rejected, measured
             against the model that the stage begins with
    infuse   labelled items of the source, the own description put first

    arm          chosen      rejected    stages
    main         careful     astray      prefer, infuse
    positive     careful                 likelihood of the chosen, infuse
    uncorrupted  careful     plain       prefer, infuse
    swapped      astray      careful     prefer, infuse
    replay_only                          replay alone, as long as infuse

Controls learn from at most as many pairs as main did.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np

from vlm_games.data.fetch import fetch
from vlm_games.data.images import RenderedSource
from vlm_games.games.answer import Answer, Asked, answer
from vlm_games.games.play import Role
from vlm_games.methods import corrupt, estimates, prefer
from vlm_games.methods.descriptions import (
    BLURRED,
    INVENTED,
    RECOLOURED,
    Description,
    DescriptionRecord,
)
from vlm_games.methods.drawing import draw_images
from vlm_games.methods.estimates import Estimate, Sizes
from vlm_games.methods.infuse import infused_examples, tokens_said
from vlm_games.methods.method import (
    REPLAY_ONLY,
    Made,
    Selection,
    Stage,
    Surroundings,
    Workbench,
    unheard,
)
from vlm_games.pretraining.examples import pick
from vlm_games.report.candidates import CandidateView, Picture, foremost

# What a chosen description is preferred to, by the source of the other.
AGAINST = {
    INVENTED: "against an invention",
    BLURRED: "against a blurred view",
    RECOLOURED: "against a recoloured view",
}


@dataclasses.dataclass(frozen=True)
class Draw(corrupt.Corruption):
    """What chance decides about a candidate.

    Attributes:
      source: of the rejected description.
      number: of the candidate. image: which.
      plain, careful, invitation: instructions.
    """

    number: int
    image: int
    plain: str
    careful: str
    invitation: str


class Stic:
    """The method; see `methods.method.Method`."""

    record = DescriptionRecord
    unit = "description"
    arms: tuple[str, ...] = prefer.ARMS
    standard = prefer.SWAPPED
    idle: tuple[str, ...] = (REPLAY_ONLY,)

    def __init__(self, bench: Workbench):
        """Raises ValueError if `config.stic` corrupts nothing."""
        self.bench = bench
        self.config = bench.config.stic
        side = bench.model.vision.image_size
        corrupt.check_low_side(self.config.low_side, side)

    @functools.cached_property
    def source(self) -> RenderedSource:
        """Labelled images that the base has seen the like of."""
        return RenderedSource(
            "source/replay",
            self.bench.config.train.replay_images,
            self.bench.model.vision.image_size,
        )

    @property
    def count(self) -> int:
        """An image is described once in an iteration."""
        return min(self.config.images, len(self.bench.images))

    @staticmethod
    def estimate(sizes: Sizes) -> Estimate:
        return estimates.stic(sizes)

    def shards(self) -> int:
        return -(-self.count // self.config.shard)

    def warm_up(self, arm: str, iteration: int) -> tuple[Stage, ...]:
        return ()

    def prepare(self, params, iteration: int) -> tuple[int, ...]:
        """The images of the iteration, one per candidate."""
        seed, total = (self.bench.config.seed, 5), len(self.bench.images)
        return draw_images(total, self.count, seed, iteration)

    def candidates(
        self,
        params,
        prepared: tuple[int, ...],
        iteration: int,
        shard: int,
        made: Made = unheard,
    ) -> list[DescriptionRecord]:
        first = shard * self.config.shard
        images = prepared[first : first + self.config.shard]
        draws = [
            draw(self.bench, number, image, iteration)
            for number, image in enumerate(images, start=first)
        ]
        pixels = fetch(
            self.bench.images,
            [d.image for d in draws],
            self.bench.config.image_workers,
        )
        spoilt = corrupt.corrupt(pixels, draws, self.config.low_side)
        # Clean ones, then the same corrupted, so that shapes are always alike.
        both = np.concatenate([pixels, spoilt])
        role = Role(params, self.bench.engine.encode(params, both))
        careful = [self._careful(i, d) for i, d in enumerate(draws)]
        stray = [self._stray(i, d, len(draws)) for i, d in enumerate(draws)]
        # A pair is there when both of its descriptions are.
        chosen = self._say(role, careful, iteration)
        rejected = self._say(role, stray, iteration, made)
        plain: list[Answer | None] = [None] * len(draws)
        if prefer.UNCORRUPTED in self.bench.config.controls:
            asked = [self._plain(i, d) for i, d in enumerate(draws)]
            plain = [*self._say(role, asked, iteration)]
        found = zip(draws, chosen, rejected, plain, strict=True)
        return [self._record(d, iteration, *words) for d, *words in found]

    def _careful(self, place: int, d: Draw) -> tuple[float, Asked]:
        """(temperature, prompt) of the chosen description."""
        text = self.bench.prompts.instruct(d.careful)
        return self.config.temperature, Asked(place, text, (d.number, 0))

    def _stray(self, place: int, d: Draw, count: int) -> tuple[float, Asked]:
        """The same of the rejected one; `count`: of clean images."""
        c, instruct = self.config, self.bench.prompts.instruct
        draw = (d.number, 1)
        if d.source == INVENTED:
            asked = Asked(place, instruct(d.invitation), draw)
            return c.invent_temperature, asked
        return c.temperature, Asked(count + place, instruct(d.plain), draw)

    def _plain(self, place: int, d: Draw) -> tuple[float, Asked]:
        """The same of the control's."""
        text = self.bench.prompts.instruct(d.plain)
        return self.config.temperature, Asked(place, text, (d.number, 2))

    def _say(
        self, role: Role, requests, iteration: int, told: Made = unheard
    ) -> list[Answer]:
        """Answers in the order of the requests, one temperature at a time."""
        bench, c = self.bench, self.config
        found: dict[int, Answer] = {}
        for heat in sorted({heat for heat, _ in requests}):
            places = [i for i, (h, _) in enumerate(requests) if h == heat]
            before = len(found)

            def told_of_all(count: int, before: int = before) -> None:
                told(before + count)

            answers = answer(
                bench.engine,
                bench.tokenizer,
                role,
                [requests[i][1] for i in places],
                c.tokens,
                heat,
                (bench.config.seed, iteration),
                c.rows,
                told_of_all,
            )
            found |= dict(zip(places, answers, strict=True))
        return [found[i] for i in range(len(requests))]

    def _record(
        self, d: Draw, iteration: int, chosen, rejected, plain
    ) -> DescriptionRecord:
        """The pair as it goes to disk."""
        chosen, rejected, plain = (
            words and self._description(d.image, words)
            for words in (chosen, rejected, plain)
        )
        cut = self.config.cut
        sound = chosen.sound(cut) and rejected.sound(cut)
        return DescriptionRecord(
            number=d.number,
            iteration=iteration,
            seed=self.bench.config.seed,
            image=d.image,
            name=self.bench.images.names[d.image],
            instruction=d.plain,
            chosen=chosen,
            rejected=rejected,
            source=d.source,
            plain=plain,
            kept=sound and chosen.text != rejected.text,
        )

    def _description(self, image: int, words: Answer) -> Description:
        return Description(
            words.text,
            words.ended,
            words.log_prob,
            words.tokens,
            self.bench.faithful(image, words.text),
        )

    def tokens_said(self, record: DescriptionRecord) -> int:
        """Without `plain`, which is of a control alone."""
        return record.chosen.tokens + record.rejected.tokens

    def select(
        self,
        records: Sequence[DescriptionRecord],
        arm: str,
        iteration: int,
        budget: Mapping[str, int] | None,
    ) -> Selection:
        c, seed = self.config, (self.bench.config.seed, iteration)
        chosen = prefer.pairs(records, arm, seed, budget, c.cut)

        def infused(params):
            found = infused_examples(self.bench, self.source, params, c, seed)
            return {"infused": found}

        def said(examples) -> int:
            if "infused" not in examples:
                return 0
            asked = min(c.infused, len(self.source))
            found = examples["infused"]
            return tokens_said(self.bench, found, asked, c.tokens)

        infuse = Stage(
            "infuse",
            (lambda params: {}) if arm == REPLAY_ONLY else infused,
            settings=c.infuse.to_dict(),
            images=self.source,
            said=said,
        )
        stages = (prefer.stage(chosen, arm, self.bench.prompts, c), infuse)
        return Selection(
            stages if chosen else (infuse,),
            kept=len(chosen),
            budget={"kept": len(chosen)},
            figures=prefer.figures(chosen),
        )

    def show(
        self, records: Sequence[DescriptionRecord], iteration: int, most: int
    ) -> list[CandidateView]:
        return foremost(self.views(records, iteration, self.bench), most)

    @staticmethod
    def views(
        records: Sequence[DescriptionRecord],
        iteration: int,
        around: Surroundings,
    ) -> list[CandidateView]:
        return [_view(r, iteration, around) for r in records]


def draw(around: Surroundings, number: int, image: int, iteration: int) -> Draw:
    """By the candidate's number alone, whatever shard it is in."""
    c, pools = around.config.stic, around.instructions
    rng = np.random.default_rng((around.config.seed, iteration, number))
    corrupted = corrupt.draw_source(rng)
    plain, careful, invitation = (
        pick(rng, pool)
        for pool in (pools.describe, pools.careful, pools.invent)
    )
    source = INVENTED if rng.random() < c.invented else corrupted
    light, turn = corrupt.draw_colours(rng, c)
    return Draw(source, light, turn, number, image, plain, careful, invitation)


def _view(
    r: DescriptionRecord, iteration: int, around: Surroundings
) -> CandidateView:
    """The clean image, and the corrupted one if there was one."""

    def spoilt() -> np.ndarray:
        drawn = draw(around, r.number, r.image, iteration)
        drawn = dataclasses.replace(drawn, source=r.source)
        side = around.config.stic.low_side
        return corrupt.corrupt(around.images[r.image][None], [drawn], side)[0]

    pictures = [Picture("as it is", lambda: around.images[r.image])]
    if r.source != INVENTED:
        pictures.append(Picture(r.source, spoilt))
    return CandidateView(
        f"Pair {r.number}",
        iteration,
        r.kept,
        AGAINST[r.source],
        pictures,
        [
            ("chosen", r.chosen.text, r.chosen.faithful),
            ("rejected", r.rejected.text, r.rejected.faithful),
        ],
    )
