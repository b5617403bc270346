"""Labelled source scenes to rows of other tasks than answering and playing.

    task row  <image> -+- describe : a small ... . question : ... [red]
                       +- ask [is there a ring ? answer : yes]
                       +- answer : red ask [what color is the ring ?]
                       +- question : ... 1 red 2 blue ... [2 . a small ...]

    text row          -+- open question : [a small ... . question : ... ]
                       +- describe : a small ... question : ... [2 . a ...]

In brackets what is learned. Branches of a text row, whose trunk is empty, have
nothing in common.
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
      situations: records written from nothing.
      told: multiple choices on a description, in a row of text.
      none: chance that "none" is among the wrong options.
    """

    described: int = 1
    pairs: int = 2
    asked_for: int = 2
    choices: float = 0.2
    situations: int = 2
    told: int = 2
    none: float = 0.2


@dataclasses.dataclass(frozen=True)
class Language:
    """What the rows are spoken in."""

    prompts: Prompts = Prompts()
    instructions: Instructions = Instructions()

    def after_image(self, instruction: str):
        """An instruction without the image, which the trunk holds."""
        return read(self.prompts.instruct(instruction).partition(IMAGE)[2])

    def learn(self, words: str):
        """Words of the model, and their end."""
        return said(f"{self.prompts.reply(words)} {self.prompts.end}")


@dataclasses.dataclass(frozen=True)
class Problem:
    """A multiple choice: what is right, and why."""

    question: str
    options: tuple[str, ...]
    right: int
    rationale: str


def pose(rng, none: float, scene, options: int = 0) -> Problem:
    """A multiple choice on a scene; of `options` options, if that is given."""
    while True:
        question, answer = pick_question(rng, scene)
        wrong = world.wrong_answers(question, scene)
        wrong = rng.permutation(wrong)[: OPTIONS - 1].tolist()
        if not question.yes_no and answer != "none" and rng.random() < none:
            wrong = [*wrong[: OPTIONS - 2], "none"]
        if wrong and options in (0, len(wrong) + 1):
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
        problem = pose(rng, tasks.none, scene)
        asked = spoken.choice.format(
            question=problem.question,
            options=spoken.list_options(problem.options),
        )
        asked = language.after_image(asked)
        branches.append((asked, choose(language, problem)))
    trunk = (read(prompts.describer_trunk()),)
    return Example((image,), trunk, tuple(branches))


def text_row(
    rng: np.random.Generator, language: Language, tasks: Tasks, scenes
) -> Example:
    """Exchanges without an image, each on the description of its own scene."""
    prompts, spoken = language.prompts, language.instructions
    branches = []
    for scene in scenes[: tasks.situations]:
        problem = pose(rng, tasks.none, scene, OPTIONS)
        record = spoken.situation_said.format(
            situation=world.caption(scene),
            question=problem.question,
            options=spoken.list_options(problem.options),
            answer=spoken.marks[problem.right],
            rationale=problem.rationale,
        )
        asked = prompts.instruct(pick(rng, spoken.situation), image=False)
        branches.append((read(asked), language.learn(record)))
    for scene in scenes[tasks.situations :]:
        problem = pose(rng, tasks.none, scene)
        asked = spoken.told.format(
            situation=world.caption(scene),
            question=problem.question,
            options=spoken.list_options(problem.options),
        )
        asked = read(prompts.instruct(asked, image=False))
        branches.append((asked, choose(language, problem)))
    return Example((), (), tuple(branches))


def choose(language: Language, problem: Problem):
    """The right mark and the rationale, to be learned."""
    spoken = language.instructions
    words = spoken.choice_said.format(
        answer=spoken.marks[problem.right], rationale=problem.rationale
    )
    return language.learn(words)
