"""Every question that can be asked of a frame, and its true answers.

They are about the state, as `facts.Facts` tells it, so that they have one
answer under any camera.
"""

import itertools
from collections.abc import Sequence

from vlm_games.robot.facts import Facts
from vlm_games.robot.tasks import TASKS
from vlm_games.worlds.questions import Question

HANDS = ("left", "right")
PLACES = ("left", "middle", "right")  # on the table, as the source shows it
MIDDLE = 0.05  # half its width; m

# kind -> (template, its blanks); "thing" is an object of the task.
_YES_NO = (
    ("held", "does the {} hand hold the {} ?", (HANDS, "thing")),
    ("lying", "is the {} on the table ?", ("thing",)),
    ("at_place", "is the {} at the {} ?", ("thing", PLACES)),
)
_OPEN = (
    ("holder", "what holds the {} ?", ("thing",)),
    ("place", "where is the {} ?", ("thing",)),
    ("hand_place", "where is the {} hand ?", (HANDS,)),
)
_INSIDE = Question(TASKS["insertion"].question, "inside", True, ())


def _ask_all(things: Sequence[str]) -> tuple[Question, ...]:
    """Fills every template in every way."""
    return tuple(
        Question(template.format(*asks), kind, yes_no, asks)
        for yes_no, templates in ((True, _YES_NO), (False, _OPEN))
        for kind, template, blanks in templates
        for asks in itertools.product(
            *(things if blank == "thing" else blank for blank in blanks)
        )
    )


# Of every task, that of its success among them.
QUESTIONS = {
    name: _ask_all(task.words) + ((_INSIDE,) if "peg" in task.words else ())
    for name, task in TASKS.items()
}
BY_TEXT = {q.text: q for asked in QUESTIONS.values() for q in asked}


def answers(question: Question, facts: Facts) -> frozenset[str]:
    """All the right one-word answers; there is one."""
    kind, asks = question.kind, question.asks
    if kind == "held":
        hand, thing = asks
        return _yes_or_no(hand in facts.held[thing])
    if kind == "lying":
        return _yes_or_no(asks[0] in facts.lying)
    if kind == "at_place":
        return _yes_or_no(place(facts, asks[0]) == asks[1])
    if kind == "inside":
        return _yes_or_no(facts.inside)
    if kind == "holder":
        return frozenset([holder(facts, asks[0])])
    return frozenset([place(facts, asks[0])])


def _yes_or_no(true: bool) -> frozenset[str]:
    return frozenset(["yes" if true else "no"])


def holder(facts: Facts, thing: str) -> str:
    """ "left", "right", "both" or "none"."""
    hands = facts.held[thing]
    return "both" if len(hands) > 1 else "".join(hands) or "none"


def place(facts: Facts, thing: str) -> str:
    """One of PLACES, of an object or a hand."""
    x = facts.places[thing][0]
    return PLACES[int(x > -MIDDLE) + int(x > MIDDLE)]


def caption(facts: Facts) -> str:
    """ "cube in the left hand at the left ."."""
    parts = []
    for thing in facts.held:
        hand = holder(facts, thing)
        where = {
            "both": "in the left right hand",
            "none": "on the table" if thing in facts.lying else "none",
        }.get(hand, f"in the {hand} hand")
        parts.append(f"{thing} {where} at the {place(facts, thing)}")
    if facts.inside:
        parts.append("peg in the socket")
    return " , ".join(parts) + " ."


def _vocabulary() -> tuple[str, ...]:
    words = {word for text in BY_TEXT for word in text.split()}
    words |= {
        *HANDS,
        *PLACES,
        "both",
        "none",
        "yes",
        "no",
        "in",
        "on",
        ",",
        ".",
    }
    return tuple(sorted(words))


# Every word of questions, answers and captions, sorted.
VOCABULARY = _vocabulary()
