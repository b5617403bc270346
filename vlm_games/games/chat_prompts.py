"""The game in plain words, for models that follow instructions.

Everything is said within the checkpoint's own chat template; a config may
replace any of it (`config.prompts`).
"""

from vlm_games.data.examples import IMAGE
from vlm_games.games.prompts import Prompts

ASK = "Question:"
RULES = (
    "We play a game. You see several numbered images; I have chosen one of "
    "them and answer your questions about it. Find out which it is. You may "
    "ask {style} questions, one at a time.\n"
)
MOVE = (
    "\nFirst sum up in one line what is known so far. Then write one line: "
    "either 'Question:' with your next question, or 'Guess:' with the number "
    "of the image."
)
LAST_MOVE = (
    "\nSum up in one line what is known. Then write one line: 'Guess:' with "
    "the number of the image."
)


def chat_prompts(
    start: str,
    see: str,
    reply: str,
    lead: str,
    end: str,
    again: str,
    image: str,
) -> Prompts:
    """Prompts between the parts of a chat template; see `hub.chat.Chat`.

    Args:
      start, see, reply, lead, end, again: of the template.
      image: what the family writes around `<image>`.
    """
    start, see, reply, again = map(_plain, (start, see, reply, again))
    picture = _plain(image).replace(IMAGE, "{image}")
    return Prompts(
        # Behind `ask` as when the Guesser said it: the same tokens.
        describer=f"{see}{picture}\n{ASK} {{question}} "
        f"Answer in one or two words.{reply}",
        opening=start + RULES,
        candidate=f"Image {{number}}: {picture}\n",
        cue=MOVE + reply,
        last_cue=LAST_MOVE + reply,
        answer=f"{again}The answer is: {{answer}}.",
        ask=ASK,
        guess="Guess:",
        summary_end="\n",
        end=end,
        gap="",
        lead=lead,
        task=f"{see}{picture}\n{{instruction}}{reply}",
        text_task=f"{start}{{instruction}}{reply}",
        openly=(),  # what they ask fits no short list of forms
    )


def _plain(text: str) -> str:
    """Text that `str.format` leaves as it is."""
    return text.replace("{", "{{").replace("}", "}}")
