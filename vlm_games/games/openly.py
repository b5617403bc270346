"""Leading questions put openly: a check on who likes to agree.

    is there a red object at the top-left ?         yes
    what color is the object at the top-left ?      blue

The yes does not hold. Who leans to yes, as the shipped base and many public
models do, agrees with what a question names; asked what is there, the same
model has nothing to agree with. Which words put a question openly is said in
`Prompts.openly`.
"""

import dataclasses
import functools
import re
from collections.abc import Sequence

from vlm_games.data.records import Openly
from vlm_games.data.tokenizer import Tokenizer
from vlm_games.games.answer import ROWS, Asked, answer
from vlm_games.games.play import Role
from vlm_games.games.prompts import Prompts
from vlm_games.sampling.engine import Engine


@dataclasses.dataclass(frozen=True)
class Leading:
    """A yes/no question and how it was answered.

    Attributes:
      image: its number in the bank. question, answer: the words.
    """

    image: int
    question: str
    answer: str


def check_forms(forms: Sequence[Sequence[str]]) -> None:
    """Raises ValueError for a form of `config.prompts.openly` that is none."""
    for form in forms:
        try:
            leading, openly, word = form
            fields = _pattern(leading).groupindex
            openly.format(**fields), word.format(**fields)
        except (
            re.error,
            LookupError,
            ValueError,
            TypeError,
            AttributeError,
        ) as error:
            raise ValueError(
                f"config.prompts.openly has {form!r}: {error!r}. A form is "
                "what a leading question looks like, the open question, and "
                "the word in its answer for which a yes holds; the {fields} of "
                "these are those of the first, which has each once."
            ) from error


def put_openly(
    question: str, forms: Sequence[tuple[str, str, str]]
) -> tuple[str, str] | None:
    """(the open question, the word in its answer for which a yes holds).

    Args:
      forms: of Prompts.openly; the first that fits is taken.

    Returns:
      None if no form fits.

    Examples:
      >>> forms = [("is the {a} {b} ?", "what color is the {a} ?", "{b}")]
      >>> put_openly("is the box red ?", forms)
      ('what color is the box ?', 'red')
    """
    for leading, openly, word in forms:
        found = _pattern(leading).fullmatch(question)
        if found:
            words = found.groupdict()
            return openly.format(**words), word.format(**words)
    return None


@functools.cache
def _pattern(template: str) -> re.Pattern[str]:
    """Of a template, whose {fields} each stand for one word."""
    parts = re.split(r"\{(\w+)\}", template)
    parts[::2] = [re.escape(text) for text in parts[::2]]
    parts[1::2] = [rf"(?P<{name}>\S+)" for name in parts[1::2]]
    return re.compile("".join(parts), re.IGNORECASE)


def yes_or_no(answer: str) -> bool | None:
    """Whether an answer says yes; None if it says neither yes nor no.

    Examples:
      >>> yes_or_no("Yes."), yes_or_no("no"), yes_or_no("nothing")
      (True, False, None)
    """
    found = re.match(r"\W*(yes|no)\b", answer, re.IGNORECASE)
    return None if found is None else found[1].lower() == "yes"


def ask_openly(
    engine: Engine,
    tokenizer: Tokenizer,
    prompts: Prompts,
    role: Role,
    asked: Sequence[Leading],
    limit: int,
    rows: int = ROWS,
) -> list[Openly | None]:
    """Asks again what can be put openly, greedily; in order.

    Args:
      role: who answers, and how it sees the images.
      limit: most tokens of an answer.
      rows: prompts at a time, on each device.

    Returns:
      None where no form fits, where the answer was neither yes nor no, and
      where the open answer came to no end.
    """
    put = [
        None
        if yes_or_no(one.answer) is None
        else put_openly(one.question, prompts.openly)
        for one in asked
    ]
    texts = [
        Asked(one.image, prompts.ask_describer(found[0]))
        for one, found in zip(asked, put, strict=True)
        if found is not None
    ]
    said = iter(answer(engine, tokenizer, role, texts, limit, rows=rows))
    opened: list[Openly | None] = []
    for one, found in zip(asked, put, strict=True):
        if found is None:
            opened.append(None)
            continue
        question, word = found
        heard = next(said)
        agrees = names(heard.text, word) == yes_or_no(one.answer)
        opened.append(
            Openly(question, heard.text, agrees) if heard.ended else None
        )
    return opened


def names(answer: str, word: str) -> bool:
    """Whether the answer has the word in it, as a word.

    Examples:
      >>> names("a Red ball", "red"), names("reddish", "red")
      (True, False)
    """
    pattern = rf"(?<!\w){re.escape(word)}(?!\w)"
    return re.search(pattern, answer, re.IGNORECASE) is not None
