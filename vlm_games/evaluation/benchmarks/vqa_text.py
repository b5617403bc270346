"""How VQA answers are made alike, and how far they agree with ten people.

The rules of the VQA evaluation server, which VQAv2 and TextVQA share. Some of
them are odd; they are kept, for the figures are to be the owners' own.
"""

import functools
import re
from collections.abc import Sequence

MARKS = ';/[]"{}()=+\\_-><@`,?!'
ARTICLES = ("a", "an", "the")
NUMBERS = {
    word: str(number)
    for number, word in enumerate(
        "zero one two three four five six seven eight nine ten".split()
    )
} | {"none": "0"}

# What is written without its apostrophe, or one of them, gets it back.
_APOSTROPHES = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't
    hadn't hadn't've hasn't haven't he'd he'd've he's how'd how'll how's isn't
    it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've
    needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've
    shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd
    someone'd've someone'll someone's something'd something'd've something'll
    that's there'd there'd've there're there's they'd they'd've they'll
    they're they've 'twas wasn't we'd've we've weren't what'll what're what's
    what've when's where'd where's where've who'd who'd've who'll who's who've
    why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll
    y'all'd've you'd you'd've you'll you're you've
""".split()


def _without_one(word: str) -> list[str]:
    places = [i for i, letter in enumerate(word) if letter == "'"]
    return [word[:i] + word[i + 1 :] for i in places]


CONTRACTIONS = {
    short: word for word in _APOSTROPHES for short in _without_one(word)
} | {"somebody'd": "somebodyd"}  # the wrong way round in the owners' table


def clean(text: str) -> str:
    """Line breaks and tabs are spaces; none at the ends."""
    return text.replace("\n", " ").replace("\t", " ").strip()


@functools.lru_cache(maxsize=1 << 16)
def normalise(text: str) -> str:
    """Without punctuation, articles and number words, in small letters."""
    words = _strip_marks(text).lower().split()
    words = [NUMBERS.get(word, word) for word in words]
    words = [word for word in words if word not in ARTICLES]
    return " ".join(CONTRACTIONS.get(word, word) for word in words)


def _strip_marks(text: str) -> str:
    """A mark beside a space goes; between letters it becomes a space.

    Where a comma stands between digits, every mark goes.
    """
    thousands = re.search(r"\d,\d", text)
    found = text
    for mark in MARKS:
        free = f"{mark} " in text or f" {mark}" in text
        found = found.replace(mark, "" if free or thousands else " ")
    # No more than 32 full stops: the owners give a flag where `count` belongs.
    return re.sub(r"\.(?!\d)", "", found, count=32)


def agreement(matches: Sequence[bool], twins: Sequence[Sequence[int]]) -> float:
    """Mean over people of min(1, agreeing others / 3).

    Args:
      matches: whether each person gave the answer.
      twins: for each person, numbers of the people who are not "others".
    """
    if not any(matches):
        return 0.0
    total = sum(matches)
    scores = [
        min(1, float(total - sum(matches[i] for i in same)) / 3)
        for same in twins
    ]
    return float(sum(scores)) / len(scores)
