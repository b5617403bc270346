"""Describe, then answer: own descriptions, put before questions and judged."""

from collections.abc import Sequence

import numpy as np

from vlm_games.evaluation.speaker import Speaker
from vlm_games.games.answer import Asked
from vlm_games.games.play import Role
from vlm_games.worlds import questions as world


def describe(
    speaker: Speaker,
    role: Role,
    images: int,
    limit: int,
) -> list[str]:
    """The model's greedy description of each image, `limit` tokens at most."""
    asked = speaker.prompts.instruct(speaker.instructions.describe[0])
    wanted = [Asked(image, asked) for image in range(images)]
    return [x.text for x in speaker.answer(role, wanted, limit)]


def description_figures(texts: Sequence[str], scenes: Sequence) -> dict:
    """How true and how complete descriptions are, percent.

    Returns:
      description_truth: of all things said, those true of their scene (None
      if nothing was said); description_recall: of all objects, those named
      with every property right.
    """
    truths, named = [], []
    for text, scene in zip(texts, scenes, strict=True):
        truths += world.phrase_truths(text, scene)
        said = set(world.things_said(text))
        named += [world.phrase(thing) in said for thing in scene.objects]
    return {
        "description_truth": 100.0 * float(np.mean(truths)) if truths else None,
        "description_recall": 100.0 * float(np.mean(named)),
    }
