"""Every word that the program says to the model, in one place.

Each field can be replaced from a config (`config.prompts.describer = ...`).
The defaults are for the shipped base, whose language is a few dozen words.
"""

import dataclasses
import re
from collections.abc import Sequence

from vlm_games.data.examples import IMAGE
from vlm_games.games.instructions import Instructions

SLOT = "\0"  # stands for a question that is still to come
# What the Guesser may ask, by `game.question_style`.
STYLES = {"yes_no": "yes or no", "open": "open", "any": "any"}


@dataclasses.dataclass(frozen=True)
class Prompts:
    """Templates of both roles.

    Attributes:
      describer: what the Describer reads; fields {image}, {question}.
      opening: what the Guesser reads first; field {style}.
      candidate: then once per image; fields {number}, {image}.
      cue: after which the Guesser speaks: summary, then question or guess.
      last_cue: the same where it must guess.
      answer: how an answer reaches the Guesser; field {answer}.
      ask: words with which the Guesser's move begins if it asks.
      guess: the same if it guesses.
      summary_end: what separates the summary from the move.
      end: the token that ends a role's words.
      gap: between these parts.
      lead: before a role's words.
      task: any instruction about one image; fields {image}, {instruction}.
      text_task: the same without an image; field {instruction}.
      openly: ways to put a leading question openly: what it looks like, the
        open question, and the word in its answer for which a yes holds; each
        {field} of the first is one word. See `games.openly`.
    """

    describer: str = "{image} question : {question} answer :"
    opening: str = "game : {style} questions"
    candidate: str = "image {number} {image}"
    cue: str = "summary :"
    last_cue: str = "last summary :"
    answer: str = "answer : {answer}"
    ask: str = "ask"
    guess: str = "guess"
    summary_end: str = "."
    end: str = "<eos>"
    gap: str = " "
    lead: str = ""
    task: str = "{image} {instruction}"
    text_task: str = "{instruction}"
    openly: tuple[tuple[str, str, str], ...] = (
        (
            "is there a {color} object at the {place} ?",
            "what color is the object at the {place} ?",
            "{color}",
        ),
        (
            "is there a {shape} at the {place} ?",
            "what shape is the object at the {place} ?",
            "{shape}",
        ),
        (
            "is there {count} object ?",
            "how many objects are there ?",
            "{count}",
        ),
        (
            "are there {count} objects ?",
            "how many objects are there ?",
            "{count}",
        ),
    )

    def ask_describer(self, question: str) -> str:
        """The Describer's whole prompt for one question."""
        return self.describer.format(image=IMAGE, question=question)

    def instruct(self, instruction: str, image: bool = True) -> str:
        """The whole prompt of an instruction, with one image or with none."""
        template = self.task if image else self.text_task
        return template.format(image=IMAGE, instruction=instruction)

    def compare(self, instruction: str, images: int) -> str:
        """The whole prompt of an instruction about several numbered images."""
        shown = self.gap.join([*self._numbered(images), instruction])
        return self.text_task.format(instruction=shown)

    def describer_trunk(self) -> str:
        """The Describer's prompt up to its image, shared by all questions."""
        return "".join(self.ask_describer("").partition(IMAGE)[:2])

    def question_only(self, question: str) -> str:
        """The Describer's prompt after its image."""
        return self.ask_describer(question).partition(IMAGE)[2]

    def question_frame(self) -> tuple[str, str]:
        """What stands between the Describer's image and a question, and after.

        Raises:
          ValueError: the template does not ask once, behind the image.
        """
        parts = self.question_only(SLOT).split(SLOT)
        if len(parts) != 2:
            raise ValueError(
                f"config.prompts.describer={self.describer!r}: it needs "
                "{question} once, after {image}."
            )
        return parts[0], parts[1]

    def open_game(self, images: int, style: str) -> str:
        """What the Guesser reads before its first words."""
        opening = self.opening.format(style=STYLES[style])
        return self.gap.join([opening, *self._numbered(images)])

    def _numbered(self, images: int) -> list[str]:
        return [
            self.candidate.format(number=k + 1, image=IMAGE)
            for k in range(images)
        ]

    def next_cue(self, last: bool) -> str:
        """After which the Guesser speaks."""
        return self.last_cue if last else self.cue

    def hear(self, answer: str, last: bool) -> str:
        """What the Guesser reads after an answer."""
        heard = self.answer.format(answer=answer)
        return self.gap.join([heard, self.next_cue(last)])

    def reply(self, words: str) -> str:
        """A role's words as they stand in the conversation."""
        return f"{self.lead}{words}"

    def speak(self, summary: str, move: str) -> str:
        """The Guesser's words of one turn; see `parse_move`."""
        return self.sum_up(summary) + self.gap.join([move, self.end])

    def sum_up(self, summary: str) -> str:
        """What comes before the move in the Guesser's words."""
        return self.gap.join([self.reply(summary), self.summary_end, ""])


@dataclasses.dataclass(frozen=True)
class Move:
    """What the Guesser said.

    Attributes:
      summary: its running summary.
      question: set if it asks.
      guess: position of the image, from 0, if it guesses.
      fault: why the words are illegal, or None.
    """

    summary: str = ""
    question: str | None = None
    guess: int | None = None
    fault: str | None = None


def parse_move(
    prompts: Prompts, text: str, images: int, must_guess: bool
) -> Move:
    """Reads the Guesser's words: a summary, then one question or guess.

    Examples:
      >>> parse_move(Prompts(), "1 yes 2 no . ask is it red", 2, False).question
      'is it red'
      >>> parse_move(Prompts(), "1 yes 2 no . guess 1", 2, False).guess
      0
      >>> parse_move(Prompts(), "1 yes 2 no . guess 3", 2, False).fault
      'guess names no image'
    """
    ask, guess = re.escape(prompts.ask), re.escape(prompts.guess)
    stop = re.escape(prompts.summary_end)
    found = re.fullmatch(
        rf"(?P<summary>.*?)\s*{stop}\s*"
        rf"(?:{ask}\s+(?P<question>.+)|{guess}\s+(?P<guess>\S+))",
        text.strip(),
        re.DOTALL,
    )
    if not found:
        return Move(fault="no question or guess found")
    summary, question = found["summary"], found["question"]
    if question is not None:
        if re.search(rf"\s{stop}\s+(?:{ask}|{guess})(?:\s|$)", question):
            return Move(summary, fault="two moves at once")
        if must_guess:
            return Move(summary, question, fault="asked instead of guessing")
        return Move(summary, question.strip())
    if not re.fullmatch(r"[0-9]{1,6}", found["guess"]):
        return Move(summary, fault="guess is not a number")
    index = int(found["guess"]) - 1
    if not 0 <= index < images:
        return Move(summary, fault="guess names no image")
    return Move(summary, guess=index)


def verdict_summary(
    possible: Sequence[bool], seen: Sequence[str] | None = None
) -> str:
    """A summary that says of every image whether it is still possible.

    Args:
      possible: per image.
      seen: per image, the own answer to the last question, said first: one
        hard verdict becomes an easy answer and a comparison.
    """
    words = [
        f"{k + 1} {seen[k] + ' ' if seen else ''}{'yes' if ok else 'no'}"
        for k, ok in enumerate(possible)
    ]
    return " ".join(words)


def prompt_words(prompts: Prompts, images: int) -> list[str]:
    """Every word of the templates, for a word-level tokenizer."""
    texts = [prompts.ask_describer(""), *Instructions().describe]
    texts += [prompts.open_game(images, style) for style in STYLES]
    texts += [prompts.hear("", last) for last in (False, True)]
    texts += [prompts.ask, prompts.guess, prompts.summary_end, "yes no"]
    words = " ".join(texts).replace("{image}", "").split()
    return [w for w in dict.fromkeys(words) if w != IMAGE]
