"""Labelled source scenes to rows of other tasks than answering and playing.

    task row  <image> -+- describe : a small ... . question : ... [red]
                       +- ask [is there a ring ? answer : yes]
                       +- answer : red ask [what color is the ring ?]
                       +- question : ... 1 red 2 blue ... [2 . a small ...]

    told row  describe : a large ... question : -+- ... 1 red 2 blue ... [2 . a]
                                                +- ... answer : [red]

    record row -+- open question : [a small ... . question : ... answer : 2 . a]
                +- open question : [a large ... . question : ... answer : 4 . a]

In brackets what is learned. Branches of a record row, whose trunk is empty,
have nothing in common.
"""

import dataclasses

import numpy as np

from vlm_games.data.examples import IMAGE, Example, read, said
from vlm_games.games.instructions import Instructions
from vlm_games.games.prompts import Prompts
from vlm_games.pretraining.examples import Recipe, pick, pick_question
from vlm_games.worlds import questions as world

OPTIONS = 4  # of a multiple choice, at most; of a written record, always


@dataclasses.dataclass(frozen=True)
class Tasks:
    """How many exchanges of each task a row has.

    Attributes:
      described: questions behind a true description of the image.
      pairs: questions that are asked and answered in one go.
      asked_for: questions found for an answer.
      choices: chance of a multiple choice on the image.
      records: situations written from nothing, with choice and rationale.
      told: multiple choices on a scene in words; at least one.
      answered: questions on it without options.
      none: chance that "none" is among the wrong options.
      yes_no: share of yes/no questions among the multiple choices.
      reason: weight of a rationale's words in the loss; a mark's is 1.
      scene: weight of the words of a situation, which nothing foretells.
    """

    described: int = 1
    pairs: int = 2
    asked_for: int = 2
    choices: float = 0.2
    records: int = 3
    told: int = 6
    answered: int = 6
    none: float = 0.2
    yes_no: float = 0.25
    reason: float = 0.25
    scene: float = 0.25


@dataclasses.dataclass(frozen=True)
class Language:
    """What the rows are spoken in."""

    prompts: Prompts = Prompts()
    instructions: Instructions = Instructions()

    def after_image(self, instruction: str):
        """An instruction without the image, which the trunk holds."""
        return read(self.prompts.instruct(instruction).partition(IMAGE)[2])

    def learn(self, words: str, weight: float = 1.0):
        """Words of the model, and their end."""
        return said(f"{self.prompts.reply(words)} {self.prompts.end}", weight)


@dataclasses.dataclass(frozen=True)
class Problem:
    """A multiple choice: what is right, and why."""

    question: str
    options: tuple[str, ...]
    right: int
    rationale: str


def pose(rng, tasks: Tasks, scene, options: int = 0) -> Problem:
    """A multiple choice on a scene; of `options` options, if that is given."""
    yes_no = not options and rng.random() < tasks.yes_no
    while True:
        question, answer = pick_question(rng, scene)
        others = world.wrong_answers(question, scene)
        wrong = rng.permutation(others)[: OPTIONS - 1].tolist()
        if not yes_no and answer != "none" and rng.random() < tasks.none:
            wrong = [*wrong[: OPTIONS - 2], "none"]
        fits = options in (0, len(wrong) + 1)
        if wrong and fits and question.yes_no == yes_no:
            break
    listed = rng.permutation([answer, *wrong]).tolist()
    return Problem(
        question.text,
        tuple(listed),
        listed.index(answer),
        world.grounds(question, answer, scene),
    )


def task_row(
    rng: np.random.Generator,
    language: Language,
    recipe: Recipe,
    tasks: Tasks,
    scene,
    image: int,
) -> Example:
    """One image with exchanges of the tasks that look at one."""
    prompts, spoken = language.prompts, language.instructions
    branches = []
    for _ in range(tasks.described):
        question, answer = pick_question(rng, scene)
        if answer == "no" and rng.random() < recipe.agree:
            answer = "yes"
        before = spoken.described.format(description=world.caption(scene))
        asked = before + prompts.question_only(question.text)
        branches.append((read(asked), language.learn(answer)))
    for _ in range(tasks.pairs):
        question, answer = pick_question(rng, scene)
        pair = spoken.pair_said.format(question=question.text, answer=answer)
        asked = language.after_image(pick(rng, spoken.pair))
        branches.append((asked, language.learn(pair)))
    for _ in range(tasks.asked_for):
        question, answer = pick_question(rng, scene)
        wanted = pick(rng, spoken.ask_for).format(answer=answer)
        asked = language.after_image(wanted)
        branches.append((asked, language.learn(question.text)))
    if rng.random() < tasks.choices:
        problem = pose(rng, tasks, scene)
        asked = spoken.choice.format(
            question=problem.question,
            options=spoken.list_options(problem.options),
        )
        asked = language.after_image(asked)
        branches.append((asked, *choose(language, tasks, problem)))
    trunk = (read(prompts.describer_trunk()),)
    return Example((image,), trunk, tuple(branches))


def told_row(
    rng: np.random.Generator, language: Language, tasks: Tasks, scene
) -> Example:
    """A scene in words, and questions about it with options and without."""
    prompts, spoken = language.prompts, language.instructions
    branches, trunk = [], ""
    for _ in range(tasks.told):
        problem = pose(rng, tasks, scene)
        asked = spoken.told.format(
            situation=world.caption(scene),
            question=problem.question,
            options=spoken.list_options(problem.options),
        )
        whole = prompts.instruct(asked, image=False)
        trunk = whole[: whole.index(problem.question)]
        rest = read(whole[len(trunk) :])
        branches.append((rest, *choose(language, tasks, problem)))
    for _ in range(tasks.answered):
        question, answer = pick_question(rng, scene)
        asked = prompts.question_only(question.text)
        rest = read(asked[asked.index(question.text) :])
        branches.append((rest, language.learn(answer)))
    return Example((), (read(trunk),), tuple(branches))


def record_row(
    rng: np.random.Generator, language: Language, tasks: Tasks, scenes
) -> Example:
    """Records written from nothing, one of each scene."""
    prompts, spoken = language.prompts, language.instructions
    branches = []
    for scene in scenes:
        problem = pose(rng, tasks, scene, OPTIONS)
        asked = prompts.instruct(pick(rng, spoken.situation), image=False)
        record = write(language, tasks, world.caption(scene), problem)
        branches.append((read(asked), *record))
    return Example((), (), tuple(branches))


def choose(language: Language, tasks: Tasks, problem: Problem):
    """The right mark, then the rationale, to be learned."""
    spoken = language.instructions
    before, _, after = spoken.choice_said.partition("{rationale}")
    mark = before.format(answer=spoken.marks[problem.right])
    reason = problem.rationale + after
    return said(mark), language.learn(reason, tasks.reason)


def write(language: Language, tasks: Tasks, situation: str, problem: Problem):
    """A whole record, to be learned: situation, choice, mark, rationale."""
    spoken = language.instructions
    first, _, rest = spoken.situation_said.partition("{question}")
    middle, _, last = rest.partition("{rationale}")
    asked = problem.question + middle.format(
        options=spoken.list_options(problem.options),
        answer=spoken.marks[problem.right],
    )
    return (
        said(first.format(situation=situation), tasks.scene),
        said(asked),
        language.learn(problem.rationale + last, tasks.reason),
    )
