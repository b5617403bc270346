"""Which option an answer in words names."""

from collections.abc import Sequence

from vlm_games.evaluation.benchmarks.benchmark import LETTERS
from vlm_games.games.choice import parse_mark


def chosen(
    answer: str, options: Sequence[str], marks: Sequence[str] = LETTERS
) -> int | None:
    """The option that an answer repeats, or names by its mark or its words.

    Returns:
      its position; None if no option, or more than one, is named.
    """
    said = answer.strip().casefold()
    words = [option.strip().casefold() for option in options]
    # "Sample A" may be an option; a bare letter is a mark.
    if said in words and len(said) > 1:
        return words.index(said)
    mark = parse_mark(answer, marks[: len(options)])
    if mark is not None:
        return mark
    within = [i for i, option in enumerate(words) if option in said]
    return within[0] if len(within) == 1 else None
