"""What a config asks of its method in an iteration, told without a model.

`--dry_run` adds up memory and cost of these. Figures are upper bounds: words
are counted as if all came to their limit.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

from vlm_games.games.instructions import Instructions
from vlm_games.games.prompts import Prompts

WORDS = 16  # tokens of a question and its label, where no limit tells


class Sizes(Protocol):
    """What is known of a run before it begins; see `planning.plan.Plan`."""

    @property
    def config(self) -> Any:
        """The run's ConfigDict."""

    @property
    def prompts(self) -> Prompts:
        """Of the model."""

    @property
    def instructions(self) -> Instructions:
        """Of the model."""

    def length(self, text: str, images: int) -> int:
        """Tokens of a text, `<image>` in it for every image."""

    def capacities(self) -> tuple[int, int]:
        """Of a row of the Guesser's and of the Describer's cache, tokens."""

    def image_counts(self) -> tuple[int, int]:
        """Images to play on, and held out."""


@dataclasses.dataclass(frozen=True)
class Talk:
    """Texts that are read and gone on with, or only scored.

    Attributes:
      name: what it is. count: texts in an iteration.
      rows: at once, on each device; 0 where games or the scorer hold them.
      read: tokens of the longest prompt. said: most tokens of an answer.
      images: encoded for it at once.
    """

    name: str
    count: int
    rows: int
    read: int
    said: int
    images: int = 0


@dataclasses.dataclass(frozen=True)
class Lesson:
    """A stage of fine-tuning; see `methods.method.Stage`.

    Attributes:
      name: of the stage. settings: fields of config.train that are otherwise.
      images: of a row, by own stream. longest: tokens of its longest example.
      examples: at most, of own streams. replay: whether it is fed beside.
      warm_up: whether the model that learns it is not gone on with.
    """

    name: str
    settings: Mapping[str, Any]
    images: Mapping[str, int]
    longest: Mapping[str, int]
    examples: int
    replay: bool = True
    warm_up: bool = False


@dataclasses.dataclass(frozen=True)
class Estimate:
    """An iteration of an arm.

    Attributes:
      candidates: a sentence on what is made, and of how many images.
      views: images encoded for candidates; each view of an image counts.
      talks: what is said and scored. lessons: what is trained, in order.
    """

    candidates: str
    views: int
    talks: tuple[Talk, ...]
    lessons: tuple[Lesson, ...]


def dialog_games(sizes: Sizes) -> Estimate:
    """Games of two roles, their listener and judges, one stage."""
    c, play = sizes.config.game, sizes.config.play
    guesser, describer = sizes.capacities()
    words = (play.turns + 1) * play.guesser_tokens
    trunk = sizes.length(sizes.prompts.describer_trunk(), 1)
    # Of the Describer's examples, up to four questions go into one.
    asked = sizes.length(sizes.prompts.question_only(""), 0)
    branch = play.guesser_tokens + asked + play.answer_tokens
    heard = c.games * c.images * (1 + c.judges)
    again = c.games * (c.repeats + c.reshuffles)
    total, _ = sizes.image_counts()
    shards = -(-c.games // c.shard)
    talks = [
        Talk("Guesser", c.games + again, 0, guesser - words, words),
        Talk(
            "Describer",
            c.games * play.turns,
            0,
            describer - play.answer_tokens,
            play.answer_tokens,
        ),
        Talk("listener, judges", heard, 0, trunk + play.turns * branch, 0),
    ]
    if c.openly and sizes.prompts.openly:
        most, read = c.games * play.turns, trunk + branch - play.answer_tokens
        talks.append(Talk("put openly", most, 0, read, play.answer_tokens))
    longest = {"describer": trunk + 4 * branch, "guesser": guesser}
    lesson = Lesson(
        "train",
        {},
        {"describer": 1, "guesser": c.images},
        longest,
        c.games * (play.turns + 1),
    )
    return Estimate(
        f"{c.games:,} games in {shards} shards, each a set of {c.images} of "
        f"{total:,} images",
        count_views(c) * played_with(sizes),
        tuple(talks),
        (lesson,),
    )


def count_views(config: Any) -> int:
    """How often an image of a game is encoded; config: `config.game`."""
    return 1 + bool(config.describer_view) + config.judges


def played_with(sizes: Sizes) -> int:
    """Most images, copies among them, that an iteration's games are of."""
    c = sizes.config.game
    total = sizes.image_counts()[0] + round(c.corrupted * c.games)
    return min(total, c.games * c.images)


def stic(sizes: Sizes) -> Estimate:
    """Pairs of descriptions, then own descriptions before questions."""
    c, x = sizes.config.stic, sizes.instructions
    total, _ = sizes.image_counts()
    count = min(c.images, total)
    plain = _longest(sizes, x.describe)
    careful, invite = _longest(sizes, x.careful), _longest(sizes, x.invent)
    both = 2 * min(c.shard, count)  # clean and corrupted
    infused = min(c.infused, sizes.config.train.replay_images)
    pair = plain + 2 * (c.tokens + 1)
    talks = [
        Talk("chosen descriptions", count, c.rows, careful, c.tokens, both),
        Talk(
            "rejected descriptions",
            count,
            c.rows,
            max(invite, plain),
            c.tokens,
            both,
        ),
        Talk("reference of pairs", count, 0, pair, 0, count),
        Talk(
            "descriptions of infuse",
            infused,
            c.rows,
            plain,
            c.tokens,
            min(c.shard, infused),
        ),
    ]
    prefer = Lesson(
        "prefer",
        c.prefer.to_dict(),
        {"description": 1},
        {"description": pair},
        count,
        replay=False,
    )
    infuse = Lesson(
        "infuse",
        c.infuse.to_dict(),
        {"infused": 1},
        {"infused": _infused(sizes)},
        infused,
    )
    return Estimate(
        f"{count:,} of {total:,} images described twice, in "
        f"{-(-count // c.shard)} shards",
        3 * count + infused,  # clean twice: for candidates and the reference
        tuple(talks),
        (prefer, infuse),
    )


def _infused(sizes: Sizes) -> int:
    """Tokens of an image, its description, and questions about it."""
    c, prompts = sizes.config.stic, sizes.prompts
    told = sizes.instructions.described.format(description="")
    read = sizes.length(prompts.describer_trunk() + told, 1) + c.tokens
    asked = sizes.length(prompts.question_only(""), 0) + WORDS
    return read + c.questions * asked


def triangle(sizes: Sizes) -> Estimate:
    """Pairs by a tuned model, told again, then learned with the seeds."""
    c, x = sizes.config.triangle, sizes.instructions
    total, _ = sizes.image_counts()
    said = c.question_tokens + c.answer_tokens
    said += sizes.length(x.pair_said.format(question="", answer=""), 0) + 1
    ask, back = _longest(sizes, x.pair), _longest(sizes, x.ask_for)
    at_once = min(c.shard, c.images)
    pair = Talk("pairs", c.images, c.rows, ask, said, at_once)
    again = Talk(
        "pairs told again",
        2 * c.images,
        c.rows,
        max(ask, back) + c.answer_tokens,
        c.question_tokens,
    )
    longest = max(ask, back) + said
    lessons = (
        Lesson(
            "tune",
            c.tune.to_dict(),
            {"seed": 1},
            {"seed": longest},
            c.seeds,
            warm_up=True,
        ),
        Lesson(
            "learn",
            c.learn.to_dict(),
            {"pair": 1, "seed": 1},
            {"pair": longest, "seed": longest},
            round(c.keep * c.images) + c.seeds,
        ),
    )
    return Estimate(
        f"{c.images:,} pairs of question and answer on {total:,} images, in "
        f"{-(-c.images // c.shard)} shards; a model tuned on {c.seeds:,} "
        "labelled images makes them",
        c.images,
        (pair, again),
        lessons,
    )


def text(sizes: Sizes) -> Estimate:
    """Records of text alone, each asked again."""
    c, x = sizes.config.text, sizes.instructions
    write = _longest(sizes, x.situation, images=0)
    frame = x.told.format(situation="", question="", options="")
    frame = sizes.prompts.instruct(frame, image=False)
    check = sizes.length(frame, 0) + c.tokens
    records = Talk("records", c.records, c.rows, write, c.tokens)
    checks = Talk(
        "answers asked again",
        c.checks * c.records,
        c.rows,
        check,
        c.choice_tokens,
    )
    lesson = Lesson(
        "learn",
        c.learn.to_dict(),
        {"text": 0},
        {"text": check},
        c.records,
        replay=False,
    )
    return Estimate(
        f"{c.records:,} records written without an image, in "
        f"{-(-c.records // c.shard)} shards, each asked again {c.checks} times",
        0,
        (records, checks),
        (lesson,),
    )


def _longest(sizes: Sizes, pool: tuple[str, ...], images: int = 1) -> int:
    """Tokens of the longest prompt of a pool of instructions."""
    instruct = sizes.prompts.instruct
    return max(
        sizes.length(instruct(x, image=bool(images)), images) for x in pool
    )
