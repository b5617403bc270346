"""Multiple choice: options in another order, and the mark that was said."""

import re
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Option = TypeVar("Option")

_WORD = re.compile(r"[A-Za-z0-9]+")
# "The answer is (B)": the words before a mark that is said on the way.
_NAMED = re.compile(
    r"(?:answer|option|choice)\b(?:\s+is\b)?[\s:*(\[\"']*([A-Za-z0-9]+)",
    re.IGNORECASE,
)
# Words that may follow a mark: "A because ..." is no "A dog ...".
_REASONS = ("because", "since", "as", "is", "for", "and", "or", "would")


def shuffle_options(
    rng: np.random.Generator,
    options: Sequence[Option],
    answer: int,
    place: int | None = None,
) -> tuple[tuple[Option, ...], int]:
    """The options in a random order, and where the right one now stands.

    Args:
      answer: position of the right one.
      place: where it is to stand; anywhere if None. The others are in any
        order around it.
    """
    order = rng.permutation(len(options)).tolist()
    if place is not None:
        where = order.index(answer)
        order[where], order[place] = order[place], answer
    return tuple(options[i] for i in order), order.index(answer)


def parse_mark(text: str, marks: Sequence[str]) -> int | None:
    """Which option was named, as a position, or None.

    What counts, in this order: a mark that opens the text ("B", "(b)",
    "2 . because ..."); the one after "answer", "option" or "choice"; the first
    mark that stands by itself. The English words "a" and "I" are no marks. A
    text that opens with a mark of no option, "E" of four, names none.

    Args:
      marks: of the options that there are, in order.

    Examples:
      >>> parse_mark("(b)", "ABCD"), parse_mark("the answer is B", "ABCD")
      (1, 1)
      >>> parse_mark("a dog", "ABCD") is None, parse_mark("E", "ABCD") is None
      (True, True)
    """
    places = {_bare(mark): i for i, mark in enumerate(marks)}
    words = list(_WORD.finditer(text))
    if not words:
        return None
    first = words[0]
    if _is_mark(first, text):
        return places.get(first.group().casefold())
    for found in _NAMED.finditer(text):
        if _is_mark(found, text, 1):
            return places.get(found.group(1).casefold())
    alone = marks_alone(text, marks)
    return alone[0] if alone else None


def marks_alone(text: str, marks: Sequence[str]) -> list[int]:
    """Every mark that stands by itself in the text, as positions."""
    places = {mark.strip("().: "): i for i, mark in enumerate(marks)}
    return [
        places[word.group()]
        for word in _WORD.finditer(text)
        if word.group() in places and not _is_english(word, text)
    ]


def _bare(mark: str) -> str:
    return mark.strip("().: ").casefold()


def _is_mark(found: re.Match, text: str, group: int = 0) -> bool:
    """Whether a word is one letter, or a number, that can only be a mark."""
    word, rest = found.group(group), text[found.end(group) :]
    if not re.fullmatch(r"[A-Za-z]|[0-9]+", word):
        return False
    if word.islower() and not re.match(r"\s*(?:$|[).:,*\]])", rest):
        return False
    return not _is_english(found, text, group)


def _is_english(found: re.Match, text: str, group: int = 0) -> bool:
    """Whether "a" or "I" is a word of the sentence, or part of one."""
    word, rest = found.group(group), text[found.end(group) :]
    if re.match(r"['\u2019-]\w", rest):  # "I'd", "A-level", "2-year"
        return True
    following = re.match(r"\s+([a-z]+)", rest)
    if word not in ("a", "A", "I") or not following:
        return False
    return following.group(1) not in _REASONS
