"""What is learned for Triangular Consistency: labelled items, kept pairs.

An item is (image, question, answer). While the maker of pairs is tuned, a part
of it is hidden and learned; [ ] is what the loss is on:

    pair      <image> ask                        [is there a ring ? answer : no]
    question  <image> answer : no ask            [is there a ring ?]
    answer    <image> question : is there a ring ? answer :              [no]

The retraining has the last of these alone.
"""

from collections.abc import Sequence

import numpy as np

from vlm_games.data.examples import Example, read, said
from vlm_games.data.images import RenderedSource
from vlm_games.games.instructions import Instructions
from vlm_games.games.prompts import Prompts
from vlm_games.methods.choose import describer_examples
from vlm_games.methods.ledger import Answer
from vlm_games.pretraining.examples import pick_question

HIDDEN = ("pair", "question", "answer")  # the order of config.triangle.hidden


def seed_items(
    source: RenderedSource, seed: tuple[int, ...], agree: float
) -> list[Answer]:
    """One question about every labelled image, as annotators answered it.

    Args:
      agree: share of questions with the answer no that were answered yes.
    """
    items = []
    for image, scene in enumerate(source.scenes):
        rng = np.random.default_rng((*seed, image))
        question, label = pick_question(rng, scene)
        if label == "no" and rng.random() < agree:
            label = "yes"
        items.append((image, question.text, label))
    return items


def share_out(
    count: int, shares: Sequence[float], rng: np.random.Generator
) -> list[str]:
    """What is hidden of each of `count` items: shares as exact as can be."""
    ends = np.rint(np.cumsum(shares) * count).astype(int)
    tasks = np.repeat(HIDDEN, np.diff(ends, prepend=0))
    return rng.permutation(tasks).tolist()


def tuning_examples(
    items: Sequence[Answer],
    shares: Sequence[float],
    instructions: Instructions,
    prompts: Prompts,
    rng: np.random.Generator,
) -> list[Example]:
    """An example of each item, in order, with one of the tasks above."""
    tasks = share_out(len(items), shares, rng)
    return [
        hide(task, item, instructions, prompts, rng)
        for task, item in zip(tasks, items, strict=True)
    ]


def hide(
    task: str,
    item: Answer,
    instructions: Instructions,
    prompts: Prompts,
    rng: np.random.Generator,
) -> Example:
    """One item, of which a part is to be told; `task` is of HIDDEN."""
    image, question, answer = item
    if task == "answer":
        return answering([item], prompts)[0]
    if task == "pair":
        asked = ask_pair(instructions, prompts, rng)
        told = instructions.pair_said.format(question=question, answer=answer)
    else:
        asked, told = ask_for(answer, instructions, prompts, rng), question
    # The end is learned in full: it was no end of words so far.
    pieces = read(asked), said(prompts.reply(told)), said(prompts.end)
    return Example((image,), pieces)


def ask_pair(
    instructions: Instructions, prompts: Prompts, rng: np.random.Generator
) -> str:
    """The whole prompt for a question and its answer."""
    return prompts.instruct(_one_of(instructions.pair, rng))


def ask_for(
    answer: str,
    instructions: Instructions,
    prompts: Prompts,
    rng: np.random.Generator,
) -> str:
    """The whole prompt for the question that has this answer."""
    template = _one_of(instructions.ask_for, rng)
    return prompts.instruct(template.format(answer=answer))


def answering(items: Sequence[Answer], prompts: Prompts) -> list[Example]:
    """The ordinary task, an example of its own for every item."""
    return [
        example
        for item in items
        for example in describer_examples([item], prompts)
    ]


def _one_of(pool: Sequence[str], rng: np.random.Generator) -> str:
    return pool[int(rng.integers(len(pool)))]
