"""STIC's second stage: labelled items with the model's own description first.

    <image> describe : [own description] -+- question : ... answer : [label]
                                           +- question : ... answer : [label]

The items are of the source, as the base has seen them and with the faults of
its labels; only what is before the answer is the model's own.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from vlm_games.data.examples import Example, read, said
from vlm_games.data.images import RenderedSource
from vlm_games.games.answer import Asked, answer
from vlm_games.games.play import Role
from vlm_games.methods.method import Workbench
from vlm_games.pretraining.examples import Recipe, answer_row, pick


def infused_examples(
    bench: Workbench,
    source: RenderedSource,
    params,
    config,
    seed: tuple[int, ...],
) -> list[Example]:
    """`config.infused` items, or all images of the source if they are fewer.

    An item whose description is empty or comes to no end is left out.

    Args:
      params: of the model that describes, greedily. config: `config.stic`.
      seed: of the draw of items.
    """
    rng = np.random.default_rng((*seed, 55))
    ids = rng.permutation(len(source))[: config.infused].tolist()
    recipe = dataclasses.replace(
        Recipe(**bench.config.recipe), describe=0.0, questions=config.questions
    )
    rows = [
        answer_row(rng, bench.prompts, recipe, source.scenes[i], i) for i in ids
    ]
    asked = [pick(rng, bench.instructions.describe) for _ in ids]
    found = describe(bench, source, params, ids, asked, config)
    return [
        put_first(row, text, bench)
        for row, text in zip(rows, found, strict=True)
        if text
    ]


def tokens_said(
    bench: Workbench, examples: Sequence[Example], asked: int, limit: int
) -> int:
    """Tokens of the descriptions that examples begin with, ends included.

    Args:
      asked: items that were described; of those that are no examples `limit`
        tokens each are counted, as many as one without an end has.
    """

    def count(trunk: str) -> int:
        return len(bench.tokenizer.encode(trunk))

    empty = count(trunk_with("", bench)) - 1
    kept = sum(count(e.trunk[0].text) - empty for e in examples)
    return kept + (asked - len(examples)) * limit


def describe(
    bench: Workbench,
    source: RenderedSource,
    params,
    ids: Sequence[int],
    asked: Sequence[str],
    config,
) -> list[str]:
    """The greedy answers to instructions about images; "" if there is no
    end and `config.cut` does not take it all the same."""
    texts: list[str] = []
    for start in range(0, len(ids), config.shard):
        some = slice(start, start + config.shard)
        pixels = np.stack([source[i] for i in ids[some]])
        found = answer(
            bench.engine,
            bench.tokenizer,
            Role(params, bench.engine.encode(params, pixels)),
            [
                Asked(i, bench.prompts.instruct(x))
                for i, x in enumerate(asked[some])
            ],
            config.tokens,
            rows=config.rows,
        )
        texts += [x.text if x.ended or config.cut else "" for x in found]
    return texts


def put_first(row: Example, description: str, bench: Workbench) -> Example:
    """An item of `answer_row` that is read behind a description."""
    prompts = bench.prompts
    branches = tuple(
        (question, said(prompts.reply(label.text)), end)
        for question, label, end in row.branches
    )
    trunk = (read(trunk_with(description, bench)),)
    return Example(row.images, trunk, branches)


def trunk_with(description: str, bench: Workbench) -> str:
    """What is read before the questions of an item."""
    told = bench.instructions.described.format(description=description)
    return bench.prompts.describer_trunk() + told
