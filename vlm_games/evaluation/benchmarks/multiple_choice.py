"""Which option an answer in words names."""

from collections.abc import Sequence

from vlm_games.evaluation.benchmarks.benchmark import LETTERS
from vlm_games.games.choice import parse_mark


def chosen(answer: str, options: Sequence[str]) -> int | None:
    """The option that an answer names by its letter, or else by its words.

    Returns:
      its position; None if no option, or more than one, is named.
    """
    marks = LETTERS[: len(options)]
    mark = parse_mark(answer, marks)
    if mark is not None:
        return mark
    said = answer.strip().casefold()
    exact = [i for i, x in enumerate(options) if x.strip().casefold() == said]
    within = [i for i, x in enumerate(options) if x.strip().casefold() in said]
    found = exact or within
    return found[0] if len(found) == 1 else None
