"""STIC's first stage: which pairs each arm learns from, and as what.

<image> -+- describe : [chosen]      Both answer the plain instruction and
         +- describe : [rejected]    see the clean image.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from vlm_games.data.examples import IMAGE, Example, read, said
from vlm_games.games.prompts import Prompts
from vlm_games.methods.descriptions import (
    SOURCES,
    Description,
    DescriptionRecord,
)
from vlm_games.methods.method import MAIN, REPLAY_ONLY, Stage

POSITIVE, UNCORRUPTED, SWAPPED = "positive", "uncorrupted", "swapped"
ARMS = (MAIN, POSITIVE, UNCORRUPTED, SWAPPED, REPLAY_ONLY)


def pairs(
    records: Sequence[DescriptionRecord],
    arm: str,
    seed: tuple[int, int],
    budget: Mapping[str, int] | None,
    cut: bool = False,
) -> list[DescriptionRecord]:
    """The records as the arm learns them: `chosen` over `rejected`.

    Args:
      seed: (seed, iteration). budget: main's, for controls.
      cut: whether descriptions without an end are learned.

    Raises:
      ValueError: plain descriptions are wanted and were not made.
    """
    if arm == REPLAY_ONLY:
        return []
    if arm == UNCORRUPTED:
        found = [uncorrupted(r) for r in records if _is_plain_sound(r, cut)]
    else:
        found = [r for r in records if r.kept]
    if arm == SWAPPED:
        found = [
            dataclasses.replace(r, chosen=r.rejected, rejected=r.chosen)
            for r in found
        ]
    if budget is None or len(found) <= budget["kept"]:
        return found
    rng = np.random.default_rng((*seed, ARMS.index(arm)))
    places = rng.choice(len(found), budget["kept"], replace=False)
    return [found[i] for i in sorted(places)]


def _is_plain_sound(record: DescriptionRecord, cut: bool) -> bool:
    if record.plain is None:
        raise ValueError(
            f"The candidates have no plain descriptions for the control "
            f"{UNCORRUPTED!r}: name it in config.controls when they are made, "
            "in a new --workdir."
        )
    return record.plain.sound(cut) and record.chosen.sound(cut)


def uncorrupted(record: DescriptionRecord) -> DescriptionRecord:
    """Nothing led the rejected description astray. It may be the chosen one
    word for word; the pair then teaches nothing, which is what is tested."""
    rejected = record.plain or record.rejected
    return dataclasses.replace(record, rejected=rejected, source="plain")


def stage(
    chosen: Sequence[DescriptionRecord], arm: str, prompts: Prompts, config
) -> Stage:
    """The stage that learns the pairs; `config`: `config.stic`."""
    make = single if arm == POSITIVE else pair
    examples = {"description": [make(r, prompts) for r in chosen]}
    return Stage(
        POSITIVE if arm == POSITIVE else "prefer",
        lambda params: examples,
        "likelihood" if arm == POSITIVE else "preference",
        config.prefer.to_dict(),
        replay=False,
    )


def pair(record: DescriptionRecord, prompts: Prompts) -> Example:
    """The first branch is to be preferred over the second."""
    before, cue = split(record, prompts)
    return Example(
        (record.image,),
        (read(before),),
        tuple(
            (read(cue), *words(description, prompts))
            for description in (record.chosen, record.rejected)
        ),
    )


def single(record: DescriptionRecord, prompts: Prompts) -> Example:
    """The chosen one alone."""
    before, cue = split(record, prompts)
    said_ = words(record.chosen, prompts)
    return Example((record.image,), (read(before),), ((read(cue), *said_),))


def split(record: DescriptionRecord, prompts: Prompts) -> tuple[str, str]:
    """The prompt up to its image, and what is behind it."""
    before, image, cue = prompts.instruct(record.instruction).partition(IMAGE)
    return before + image, cue


def words(description: Description, prompts: Prompts):
    """What is learned: the end, if there is one, counts like any word."""
    text = said(prompts.reply(description.text))
    return (text, said(prompts.end)) if description.ended else (text,)


def figures(chosen: Sequence[DescriptionRecord]) -> dict:
    """What metrics.json says of an arm's pairs.

    Returns:
      pairs: percent of them by what led the rejected one astray;
      chosen_words, rejected_words: mean numbers;
      chosen_truth, rejected_truth: percent of the things said that are true of
        the image, None where nobody knows.
    """
    if not chosen:
        return {}
    found: dict = {"pairs": {}}
    for source in (*SOURCES, "plain"):
        count = sum(r.source == source for r in chosen)
        if count:
            found["pairs"][source] = 100.0 * count / len(chosen)
    for side in ("chosen", "rejected"):
        said_ = [getattr(r, side) for r in chosen]
        lengths = [len(d.text.split()) for d in said_]
        found[f"{side}_words"] = float(np.mean(lengths))
        found[f"{side}_truth"] = truth(said_)
    return found


def truth(descriptions: Sequence[Description]) -> float | None:
    """Percent of what is said that is true, if anybody knows."""
    known = [d.truths for d in descriptions if d.truths is not None]
    things = sum(count for _, count in known)
    return 100.0 * sum(true for true, _ in known) / things if things else None
