"""What methods other than games say to the model, in one place.

Each field can be replaced from a config (`config.instructions.careful = ...`).
The defaults are for the shipped base, whose language is a few dozen words; of
models that follow instructions `chat_instructions` has them in plain English.
Around an instruction stand `Prompts.task` or, with no image, `text_task`.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence


@dataclasses.dataclass(frozen=True)
class Instructions:
    """Pools of instructions, of which one is drawn, and templates.

    Attributes:
      describe: ask for a description, plainly. careful: for a long one, step
        by step. invent: invite invention.
      described: a description put before a question; field {description}.
      pair: ask for a question about the image, and its answer.
      pair_said: how these are written; fields {question}, {answer}.
      ask_for: ask for the question that has this answer; field {answer}.
      situation: ask, with no image, for a question about a situation in words.
      situation_said: how it is written; fields {situation}, {question},
        {options}, {answer}, {rationale}.
      choice: a question with options; fields {question}, {options}.
      told: a situation in words, in the place of an image, and the same;
        fields {situation}, {question}, {options}.
      option: one option; fields {mark}, {option}. marks: what it is called.
      between: options. choice_said: fields {answer}, {rationale}.
    """

    describe: tuple[str, ...] = ("describe :",)
    careful: tuple[str, ...] = ("describe :",)
    invent: tuple[str, ...] = ("describe :",)
    described: str = " describe : {description}"
    pair: tuple[str, ...] = ("ask",)
    pair_said: str = "{question} answer : {answer}"
    ask_for: tuple[str, ...] = ("answer : {answer} ask",)
    situation: tuple[str, ...] = ("open question :",)
    situation_said: str = (
        "{situation} question : {question} {options} answer : {answer} . "
        "{rationale}"
    )
    choice: str = "question : {question} {options} answer :"
    told: str = (
        "describe : {situation} question : {question} {options} answer :"
    )
    option: str = "{mark} {option}"
    marks: tuple[str, ...] = ("1", "2", "3", "4")
    between: str = " "
    choice_said: str = "{answer} . {rationale}"

    def list_options(self, options: Sequence[str]) -> str:
        """The options, each behind its mark.

        Raises:
          ValueError: there are more options than marks.
        """
        if len(options) > len(self.marks):
            raise ValueError(
                f"{len(options)} options, but config.instructions.marks has "
                f"only {len(self.marks)}: {', '.join(self.marks)}. "
                "Give more marks, or fewer options."
            )
        marked = zip(self.marks, options, strict=False)
        return self.between.join(
            self.option.format(mark=m, option=o) for m, o in marked
        )

    def situation_with(self, options: int) -> str:
        """`situation_said` with fields {option_0} ... in place of {options}."""
        names = [f"{{option_{i}}}" for i in range(options)]
        return self.situation_said.replace(
            "{options}", self.list_options(names)
        )


def read_back(template: str, text: str) -> Mapping[str, str] | None:
    """The fields of a text that was written after a template, or None.

    White space of the template fits any; no field may be empty.
    """
    parts = re.split(r"\{(\w+)\}", template)
    pattern = "".join(
        rf"(?P<{part}>.+?)" if i % 2 else _literal(part)
        for i, part in enumerate(parts)
    )
    found = re.fullmatch(pattern, text.strip(), re.DOTALL)
    if not found:
        return None
    fields = {name: value.strip() for name, value in found.groupdict().items()}
    return fields if all(fields.values()) else None


def _literal(text: str) -> str:
    """A pattern for the text, however its white space came out."""
    words = [re.escape(word) for word in text.split()]
    if not words:
        return r"\s+" if text else ""
    before = r"\s*" if text[:1].isspace() else ""
    return before + r"\s+".join(words) + r"\s*"


def chat_instructions() -> Instructions:
    """Plain English, for models that follow instructions."""
    return Instructions(
        describe=(
            "Describe the image.",
            "What does this image show?",
            "Tell me what you see in this picture.",
            "Give a description of the photo.",
            "Say in a few sentences what is in the image.",
            "Explain the content of this picture.",
            "What can be seen here?",
            "Put this image into words.",
        ),
        careful=(
            "Describe the image carefully, step by step: first who or what is "
            "in it and what they do; then the place, the mood, and what makes "
            "it so; then colours, light and composition; last the details and "
            "what they may mean. Say only what can be seen.",
        ),
        invent=(
            "Describe the image, and add things that could well be there "
            "though they are not.",
            "Describe what lies just outside of this picture as if it were in "
            "it.",
            "Describe the image and name some objects that you imagine in it.",
            "Tell a story about this image, with people that it does not show.",
            "Describe the image as it might look at another time of the day, "
            "as a fact.",
            "Describe the weather and the animals of this image, seen or not.",
            "Describe the image and guess freely at what is hidden, as if you "
            "saw it.",
            "Describe the image with richer details than it has.",
        ),
        described="\nImage description: {description}",
        pair=(
            "Ask a question about this image and answer it. Write two lines: "
            "'Question:' with the question, and 'Answer:' with the answer.",
        ),
        pair_said="Question: {question}\nAnswer: {answer}",
        ask_for=(
            "A question about this image has the answer: {answer}\nWrite the "
            "question, and nothing else.",
        ),
        situation=(
            "Invent a situation in which somebody has to decide what to do, "
            "and a hard question about the best decision. Write it in lines: "
            "'Situation:', 'Question:', four lines with options from 'A.' to "
            "'D.', 'Answer:' with the letter of the only right one, and "
            "'Rationale:' with the reason.",
            "Invent an everyday situation with a hidden danger, and a question "
            "that asks what must have led to it. Write it in lines: "
            "'Situation:', 'Question:', four lines with options from 'A.' to "
            "'D.', 'Answer:' with the letter of the only right one, and "
            "'Rationale:' with the reason.",
            "Invent a situation in which people want different things, and a "
            "question that tests whether a rash decision is seen through. "
            "Write it in lines: 'Situation:', 'Question:', four lines with "
            "options from 'A.' to 'D.', 'Answer:' with the letter of the only "
            "right one, and 'Rationale:' with the reason.",
        ),
        situation_said=(
            "Situation: {situation}\nQuestion: {question}\n{options}\n"
            "Answer: {answer}\nRationale: {rationale}"
        ),
        choice="{question}\n{options}\nAnswer with the letter of the best "
        "option first.",
        told="{situation}\n{question}\n{options}\nAnswer with the letter of "
        "the best option first.",
        option="{mark}. {option}",
        marks=("A", "B", "C", "D", "E", "F", "G", "H"),
        between="\n",
        choice_said="{answer}. {rationale}",
    )
