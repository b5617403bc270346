"""Labelled source scenes to the base's training examples.

Three kinds, each with the faults that web data has: answers by people who
agree too readily, and few examples with several images.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from vlm_games.data.examples import Example, Piece, read, said
from vlm_games.games.instructions import Instructions
from vlm_games.games.prompts import Prompts, verdict_summary
from vlm_games.worlds import questions as world

OPEN = tuple(q for q in world.QUESTIONS if not q.yes_no)
YES_NO = tuple(q for q in world.QUESTIONS if q.yes_no)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What the base's teachers are like.

    Attributes:
      agree: share of questions with the answer no that were answered yes.
      questions: exchanges per image in a question-answering row.
      describe: chance that such a row also has a description.
      describe_weight: of its words in the loss; an answer's is 1.
      turns: questions of a game, at most.
      wise: chance that a question of a game splits what is still possible;
        otherwise any question is asked.
      decided: chance that a game ends with the turn that decides it, if that
        is not the last one.
      probes: exchanges per row that practise the verdict on each image.
    """

    agree: float = 0.25
    questions: int = 10
    describe: float = 0.5
    describe_weight: float = 0.25
    turns: int = 4
    wise: float = 0.8
    decided: float = 0.3
    probes: int = 7


def by_kind(questions):
    """Questions grouped by kind, as a tuple of tuples."""
    groups: dict[str, list] = {}
    for question in questions:
        groups.setdefault(question.kind, []).append(question)
    return tuple(tuple(group) for group in groups.values())


Kinds = tuple[tuple[world.Question, ...], ...]


@dataclasses.dataclass(frozen=True)
class Subject:
    """What can be asked of labelled images, and what is true of them.

    Attributes:
      yes_no, open: questions by kind.
      answers: (question, scene) -> all right answers.
      caption: scene -> what a description says.
    """

    yes_no: Kinds
    open: Kinds
    answers: Callable[[world.Question, Any], frozenset[str]]
    caption: Callable[[Any], str]

    @functools.cached_property
    def pools(self) -> Mapping[str, Kinds]:
        """Kinds of questions by the style of a game."""
        return {
            "yes_no": self.yes_no,
            "open": self.open,
            "any": self.yes_no + self.open,
        }


SCENES = Subject(by_kind(YES_NO), by_kind(OPEN), world.answers, world.caption)


def pick(rng: np.random.Generator, items):
    """One of `items`, uniformly."""
    return items[rng.integers(len(items))]


def pick_question(
    rng, scene, yes_share: float = 0.5, subject: Subject = SCENES
):
    """A question about a scene, and its answer.

    The kind is uniform. Within a yes/no kind the answer is drawn first, so
    that yes and no are balanced; an open question is asked of things that
    are there, but for one in eight.
    """
    if rng.random() < 0.55:
        kind, wanted = pick(rng, subject.yes_no), {"no"}
        if rng.random() < yes_share:
            wanted = {"yes"}
        something = False
    else:
        kind, wanted = pick(rng, subject.open), None
        something = rng.random() >= 0.125
    for _ in range(40):
        question = pick(rng, kind)
        answers = subject.answers(question, scene)
        if wanted is None and not (something and "none" in answers):
            break
        if answers == wanted:
            break
    return question, pick(rng, sorted(answers))


def answer_row(
    rng,
    prompts: Prompts,
    recipe: Recipe,
    scene,
    image: int,
    subject: Subject = SCENES,
):
    """One image with many questions, each in a branch of its own."""
    branches: list[tuple[Piece, ...]] = []
    if rng.random() < recipe.describe:
        (cue,) = Instructions().describe
        caption = f"{subject.caption(scene)} {prompts.end}"
        branches.append((read(cue), said(caption, recipe.describe_weight)))
    for _ in range(recipe.questions):
        question, answer = pick_question(rng, scene, subject=subject)
        if answer == "no" and rng.random() < recipe.agree:
            answer = "yes"
        branches.append(
            (
                read(prompts.question_only(question.text)),
                said(answer),
                said(prompts.end, 0.1),
            )
        )
    trunk = (read(prompts.describer_trunk()),)
    return Example((image,), trunk, tuple(branches))


def own_answers(
    rng, question, answer: str, scenes, subject: Subject = SCENES
) -> list[str]:
    """What each image itself answers: `answer` wherever it is right."""
    rights = [subject.answers(question, scene) for scene in scenes]
    return [answer if answer in r else pick(rng, sorted(r)) for r in rights]


def game_question(
    rng,
    recipe: Recipe,
    scenes,
    possible,
    target: int,
    style: str,
    subject: Subject = SCENES,
):
    """A question for the game, and its true answer about the target.

    A wise asker takes, of several questions, the one whose answer leaves the
    fewest images possible.
    """
    tries = 5 if rng.random() < recipe.wise else 1
    asked: list[tuple[int, world.Question, str]] = []
    for _ in range(tries):
        question = pick(rng, pick(rng, subject.pools[style]))
        rights = [subject.answers(question, scene) for scene in scenes]
        answer = pick(rng, sorted(rights[target]))
        left = sum(
            ok and answer in right
            for ok, right in zip(possible, rights, strict=True)
        )
        asked.append((left, question, answer))
    _, question, answer = min(asked, key=lambda x: x[0])
    return question, answer


STYLES = ("any", "open", "yes_no")


def game_row(
    rng,
    prompts: Prompts,
    recipe: Recipe,
    scenes,
    images,
    subject: Subject = SCENES,
):
    """A whole game as the Guesser sees it, with true summaries."""
    style = pick(rng, STYLES)
    n = len(scenes)
    target = int(rng.integers(n))
    possible, seen = [True] * n, None
    pieces = [read(prompts.open_game(n, style)), read(prompts.cue)]
    turns = int(rng.integers(1, recipe.turns + 1))
    for turn in range(turns):
        question, answer = game_question(
            rng, recipe, scenes, possible, target, style, subject
        )
        pieces.append(said(verdict_summary(possible, seen)))
        move = f"{prompts.summary_end} {prompts.ask} {question.text}"
        pieces.append(said(f"{move} {prompts.end}", 0.3))
        seen = own_answers(rng, question, answer, scenes, subject)
        possible = [
            ok and own == answer for ok, own in zip(possible, seen, strict=True)
        ]
        forced = turn + 1 == turns
        pieces.append(read(prompts.hear(answer, forced)))
        # A game that is decided ends early only now and then, so that the
        # habit of asking on does not die out.
        if sum(possible) == 1 and rng.random() < recipe.decided:
            break
    guess = pick(rng, [k for k in range(n) if possible[k]])
    move = f"{prompts.summary_end} {prompts.guess} {guess + 1} {prompts.end}"
    pieces += [said(verdict_summary(possible, seen)), said(move)]
    return Example(tuple(images), tuple(pieces))


def probe_row(
    rng,
    prompts: Prompts,
    recipe: Recipe,
    scenes,
    images,
    subject: Subject = SCENES,
):
    """Several images, and in each branch one question and its verdicts."""
    style = pick(rng, STYLES)
    n = len(scenes)
    opening = f"{prompts.open_game(n, style)} {prompts.cue}"
    nothing_known = verdict_summary([True] * n)
    first = f"{nothing_known} {prompts.summary_end} {prompts.ask}"
    branches = []
    for _ in range(recipe.probes):
        target = int(rng.integers(n))
        question, answer = game_question(
            rng, recipe, scenes, [True] * n, target, style, subject
        )
        seen = own_answers(rng, question, answer, scenes, subject)
        verdicts = [own == answer for own in seen]
        heard = prompts.hear(answer, bool(rng.integers(2)))
        branches.append(
            (
                read(f"{question.text} {prompts.end} {heard}"),
                said(verdict_summary(verdicts, seen)),
            )
        )
    return Example(tuple(images), (read(opening), read(first)), tuple(branches))
