"""Every question that can be asked of a scene, and its true answers."""

import dataclasses
import itertools
import re

from vlm_games.worlds.scenes import (
    COLORS,
    COUNTS,
    PLACES,
    SHAPES,
    SIZES,
    Scene,
    SceneObject,
)


@dataclasses.dataclass(frozen=True)
class Question:
    """A question as the players say it: words parted by single spaces.

    Attributes:
      text: the words, in lower case, "?" the last.
      kind: what it asks about, such as "color_place"; the unit of reports.
      yes_no: whether its answers are "yes" and "no".
      asks: the words of the world that it names, in the order of the text.
    """

    text: str
    kind: str
    yes_no: bool
    asks: tuple[str, ...]


# kind -> (template, one sequence of words per blank).
_YES_NO = (
    ("color", "is there a {} object ?", (COLORS,)),
    ("shape", "is there a {} ?", (SHAPES,)),
    ("size", "is there a {} object ?", (SIZES,)),
    ("color_shape", "is there a {} {} ?", (COLORS, SHAPES)),
    ("color_place", "is there a {} object at the {} ?", (COLORS, PLACES)),
    ("shape_place", "is there a {} at the {} ?", (SHAPES, PLACES)),
    ("count", "is there {} object ?", (COUNTS[:1],)),
    ("count", "are there {} objects ?", (COUNTS[1:],)),
    (
        "relation",
        "is there a {} object {} a {} object ?",
        (COLORS, ("left of", "above"), COLORS),
    ),
)
_OPEN = (
    ("color_of_shape", "what color is the {} ?", (SHAPES,)),
    ("shape_of_color", "what shape is the {} object ?", (COLORS,)),
    ("color_at_place", "what color is the object at the {} ?", (PLACES,)),
    ("shape_at_place", "what shape is the object at the {} ?", (PLACES,)),
    ("how_many", "how many objects are there ?", ()),
    ("place_of_color", "where is the {} object ?", (COLORS,)),
    ("place_of_shape", "where is the {} ?", (SHAPES,)),
    ("size_of_shape", "what size is the {} ?", (SHAPES,)),
)


def _ask_all() -> tuple[Question, ...]:
    """Fills every template in every way."""
    return tuple(
        Question(template.format(*asks), kind, yes_no, asks)
        for yes_no, templates in ((True, _YES_NO), (False, _OPEN))
        for kind, template, blanks in templates
        for asks in itertools.product(*blanks)
        # "a red object left of a red object" is a question of another kind.
        if kind != "relation" or asks[0] != asks[2]
    )


QUESTIONS = _ask_all()
BY_TEXT = {question.text: question for question in QUESTIONS}


def answers(question: Question, scene: Scene) -> frozenset[str]:
    """All the right one-word answers, never empty.

    A yes/no question has one. An open question about a thing seen twice has
    one or two (either circle's color will do); about a thing not there,
    {"none"}.
    """
    kind, asks = question.kind, question.asks
    if kind == "count":
        return _yes_or_no(_count(scene) == asks[0])
    if kind == "how_many":
        return frozenset([_count(scene)])
    if kind == "relation":
        return _yes_or_no(bool(_related(scene, *asks)))
    if question.yes_no:
        return _yes_or_no(bool(_matching(scene, asks)))
    wanted = kind.split("_")[0]  # "color_at_place" wants the color
    found = {getattr(o, wanted) for o in _matching(scene, asks)}
    return frozenset(found or {"none"})


def _yes_or_no(true: bool) -> frozenset[str]:
    return frozenset(["yes" if true else "no"])


def _count(scene: Scene) -> str:
    return COUNTS[len(scene.objects) - 1]


def _matching(scene: Scene, asks: tuple[str, ...]) -> list:
    """The objects that have all the properties asked for."""
    # No word is shared by two properties, so a set of four words will do.
    return [
        o
        for o in scene.objects
        if {o.shape, o.color, o.size, o.place}.issuperset(asks)
    ]


def _related(scene: Scene, color: str, relation: str, other: str) -> list:
    """Two objects whose quadrants, by column or by row, stand so; or none."""
    axis = "column" if relation == "left of" else "row"
    for a in _matching(scene, (color,)):
        for b in _matching(scene, (other,)):
            if getattr(a, axis) < getattr(b, axis):
                return [a, b]
    return []


# What an open question wants -> the words that can be its answer.
_WORDS = {
    "color": COLORS,
    "shape": SHAPES,
    "place": PLACES,
    "size": SIZES,
    "how": COUNTS,
}


def wrong_answers(question: Question, scene: Scene) -> tuple[str, ...]:
    """Answers to questions of this kind that are wrong here, "none" apart."""
    wanted = question.kind.split("_")[0]
    words = ("yes", "no") if question.yes_no else _WORDS[wanted]
    right = answers(question, scene)
    return tuple(word for word in words if word not in right)


def phrase(thing) -> str:
    """ "a large red circle at the top-left"."""
    return f"a {thing.size} {thing.color} {thing.shape} at the {thing.place}"


def caption(scene: Scene) -> str:
    """ "a large red circle at the top-left , a small blue ring at ... ."."""
    return " , ".join(map(phrase, scene.objects)) + " ."


def grounds(question: Question, answer: str, scene: Scene) -> str:
    """The phrases of the caption that an answer rests on, or "none".

    A number rests on all of them; "no", and "none", on nothing that is there.
    """
    kind, asks = question.kind, question.asks
    if kind in ("count", "how_many"):
        found = list(scene.objects)
    elif kind == "relation":
        found = _related(scene, *asks)
    else:
        found = _matching(scene, asks)
        if not question.yes_no:
            wanted = kind.split("_")[0]
            found = [o for o in found if getattr(o, wanted) == answer]
        found = found[:1]
    return " , ".join(map(phrase, found)) or "none"


def things_said(text: str) -> list[str]:
    """What a description says, part by part."""
    parts = text.replace(".", ",").split(",")
    return [" ".join(part.split()) for part in parts if part.strip()]


def phrase_truths(text: str, scene: Scene) -> list[bool]:
    """Of each thing that a description says, whether it is true of the scene.

    Only a caption's whole phrases can be true: "a small blue ring at the
    top-right" is, where one stands; "a ring" or other words are not.
    """
    true = set(map(phrase, scene.objects))
    return [part in true for part in things_said(text)]


_OBJECT = re.compile(
    r"a ({}) ({}) ({}) at the ({})".format(
        *("|".join(words) for words in (SIZES, COLORS, SHAPES, PLACES))
    )
)


def read_caption(text: str) -> Scene | None:
    """The scene that `caption` would say so, without jitter; None if none.

    The order of the objects does not matter. A text with other words, with
    more objects than a scene has, or two at one place, tells of no scene.
    """
    found = [_OBJECT.fullmatch(thing) for thing in things_said(text)]
    told = [match.groups() for match in found if match]
    if not told or len(told) < len(found) or len(found) > len(COUNTS):
        return None
    objects = [
        SceneObject(shape, color, size, place, 0.0, 0.0)
        for size, color, shape, place in told
    ]
    if len({o.place for o in objects}) < len(objects):
        return None
    return Scene(tuple(sorted(objects, key=lambda o: PLACES.index(o.place))))


def _vocabulary() -> tuple[str, ...]:
    words = {word for q in QUESTIONS for word in q.text.split()}
    words |= {*SHAPES, *COLORS, *SIZES, *PLACES, *COUNTS}
    return tuple(sorted(words | {"yes", "no", "none", ",", "."}))


# Every word of questions, answers and captions, sorted.
VOCABULARY = _vocabulary()
