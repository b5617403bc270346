"""Multiple choice as VIVA asks it: options listed, the mark alone counts.

The options stand in an order of their own for every item, as the right ones
of a benchmark may stand at one mark more often than at others.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from vlm_games.evaluation.questions import draw_items
from vlm_games.evaluation.speaker import Speaker
from vlm_games.games.answer import Asked
from vlm_games.games.choice import parse_mark, shuffle_options
from vlm_games.games.instructions import Instructions
from vlm_games.games.play import Role
from vlm_games.games.prompts import Prompts
from vlm_games.worlds import questions as world

OPTIONS = 4  # of an item of the shipped world
PER_SCENE = 2  # items of it, at most
SAID = 4  # tokens: a mark, perhaps in brackets


@dataclasses.dataclass(frozen=True)
class Choice:
    """A question about an image, and what may be answered.

    Attributes:
      image: its number. question: the words. options: as they are listed.
      right: number of the right option; None if nobody says which it is.
    """

    image: int
    question: str
    options: tuple[str, ...]
    right: int | None


def draw_choices(scenes: Sequence, seed: int) -> list[Choice]:
    """Items of the shipped world, their right options first.

    Up to `PER_SCENE` open questions per scene of different kinds, with one
    right answer that is not "none" and wrong ones of the same category;
    questions of categories that have too few answers are left out.
    """
    items: list[Choice] = []
    open_kinds = len(world.QUESTIONS)  # all of them
    for item in draw_items(scenes, seed, open_kinds):
        question, scene = item.question, scenes[item.image]
        wrong = world.wrong_answers(question, scene)
        asked = sum(x.image == item.image for x in items[-PER_SCENE:])
        few = len(wrong) < OPTIONS - 1 or asked == PER_SCENE
        if question.yes_no or few:
            continue
        rng = np.random.default_rng((seed, 1, len(items)))
        others = rng.permutation(wrong)[: OPTIONS - 1].tolist()
        options = (item.answer, *others)
        items.append(Choice(item.image, question.text, options, 0))
    return items


def shuffle(item: Choice, seed: int, number: int) -> Choice:
    """The item with its options in an order drawn from (seed, number)."""
    rng = np.random.default_rng((seed, number))
    options, where = shuffle_options(rng, item.options, item.right or 0)
    right = None if item.right is None else where
    return dataclasses.replace(item, options=options, right=right)


def score(said: Sequence[int | None], items: Sequence[Choice]) -> dict:
    """Accuracy, and how much of it is known.

    Args:
      said: number of the option named for each item; None for no legal mark,
        which is wrong.

    Returns:
      choice: percent of the items with a known answer, None if there are
      none; choice_unparsed: how many of these got no legal mark;
      choice_unscored: how many items have no known answer.
    """
    known = [
        (x, item.right)
        for x, item in zip(said, items, strict=True)
        if item.right is not None
    ]
    right = [x == y for x, y in known]
    return {
        "choice": 100.0 * float(np.mean(right)) if right else None,
        "choice_unparsed": sum(x is None for x, _ in known),
        "choice_unscored": len(items) - len(known),
    }


def ask(
    prompts: Prompts,
    instructions: Instructions,
    item: Choice,
    situation: str | None = None,
) -> Asked:
    """What the model reads; with a situation in words, in place of the image.

    Raises:
      ValueError: the item has more options than there are marks.
    """
    fields = {
        "question": item.question,
        "options": instructions.list_options(item.options),
    }
    if situation is None:
        words = instructions.choice.format(**fields)
        return Asked(item.image, prompts.instruct(words))
    words = instructions.told.format(situation=situation, **fields)
    return Asked(None, prompts.instruct(words, image=False))


def choice_accuracy(
    speaker: Speaker,
    role: Role,
    items: Sequence[Choice],
    seed: int,
    situations: Sequence[str] | None = None,
) -> dict:
    """Asks every item with its options shuffled; returns what `score` does.

    With `situations`, one per item, these are read and no image is seen.
    """
    shuffled = [shuffle(item, seed, i) for i, item in enumerate(items)]
    told: Sequence[str | None] = situations or [None] * len(shuffled)
    asked = [
        ask(speaker.prompts, speaker.instructions, item, situation)
        for item, situation in zip(shuffled, told, strict=True)
    ]
    words, marks = speaker.answer(role, asked, SAID), speaker.instructions.marks
    said = [
        parse_mark(x.text, marks[: len(item.options)])
        for x, item in zip(words, shuffled, strict=True)
    ]
    return score(said, shuffled)
