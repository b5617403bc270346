"""A checkpoint's chat template, taken apart into what stands around words.

    [start] user's words [reply] [lead] model's words [end] [again] user's ...

Games put their own prompts between these, turn by turn, so that a model is
spoken to just as its makers' template would.
"""

import dataclasses
import os
from typing import Any

# Words that no template holds.
USER, MODEL, AGAIN = "zqusera", "zqmodelb", "zqagainc"


@dataclasses.dataclass(frozen=True)
class Chat:
    """What the template writes around the words of both sides.

    Attributes:
      start: before the user's first words; see: the same where an image comes
        before them.
      reply: behind the user's words, for the model to answer.
      lead: with which the model's words begin (a space, or nothing).
      end: the token with which the model's words end.
      again: from there to the user's next words.
    """

    start: str
    see: str
    reply: str
    lead: str
    end: str
    again: str


def take_apart(processor: Any) -> Chat:
    """Reads the chat template by rendering two conversations.

    Raises:
      ValueError: the template does not keep the words in order, or ends an
        answer with no special token.
    """

    def say(role, words, *images):
        content = [*images, {"type": "text", "text": words}]
        return {"role": role, "content": content}

    first, answer = say("user", USER), say("assistant", MODEL)
    asked = processor.apply_chat_template([first], add_generation_prompt=True)
    shown = processor.apply_chat_template(
        [say("user", USER, {"type": "image"})]
    )
    talk = processor.apply_chat_template(
        [first, answer, say("user", AGAIN)], add_generation_prompt=True
    )
    start, found, reply = asked.partition(USER)
    _, spoken, after = talk.partition(MODEL)
    between, heard, _ = after.partition(AGAIN)
    said = talk.partition(MODEL)[0].partition(USER)[2]
    if not (found and spoken and heard):
        raise ValueError(
            "The checkpoint's chat template drops or reorders what is said: "
            f"{talk!r}."
        )
    tokenizer = processor.tokenizer
    added = [t.content for t in tokenizer.added_tokens_decoder.values()]
    special = sorted((t for t in added if t in between), key=between.index)
    end = special[0] if special else tokenizer.eos_token
    # Some templates write no end token; the model says one all the same.
    before, _, rest = between.partition(end) if special else ("", "", between)
    if before.strip():
        raise ValueError(
            f"The checkpoint's chat template writes {before!r} between an "
            "answer and its end."
        )
    # Some write before a past answer what they do not before a new one.
    lead = said.removeprefix(reply) if said.startswith(reply) else ""
    see = os.path.commonprefix([asked, shown])
    return Chat(start, see, reply, lead, end, rest)
