"""What both roles read, laid out: openings, questions handed over, room."""

from collections.abc import Callable

import numpy as np

from vlm_games.data.packing import Encoded
from vlm_games.data.tokenizer import Tokenizer
from vlm_games.games.prompts import Prompts
from vlm_games.games.protocol import GameSettings
from vlm_games.sampling.engine import round_up
from vlm_games.sampling.handover import HandOver

LENGTHS = 16  # prompts, and rows of a cache, are a multiple of it


def opening(prompts: Prompts, settings: GameSettings, images: int) -> str:
    """What the Guesser reads before its first words."""
    shown = prompts.open_game(images, settings.style)
    return prompts.gap.join([shown, prompts.next_cue(False)])


def heard(
    prompts: Prompts,
    settings: GameSettings,
    length: Callable[[str, int], int],
) -> int:
    """Tokens that the Guesser reads after an answer, at most.

    Args:
      length: tokens of a text with so many images in it.
    """
    around = max(length(prompts.hear("", last), 0) for last in (False, True))
    return around + settings.answer_tokens


def capacities(
    prompts: Prompts,
    settings: GameSettings,
    images: int,
    length: Callable[[str, int], int],
) -> tuple[int, int]:
    """Tokens that a row of the Guesser's and of the Describer's cache holds.

    Args:
      images: in a game. length: tokens of a text with so many images in it.
    """
    turn = settings.guesser_tokens + heard(prompts, settings, length) + 4
    start = length(opening(prompts, settings, images), images)
    asked = length(prompts.question_only(""), 0) + 4
    asked += settings.guesser_tokens + settings.answer_tokens
    questions = settings.turns if settings.remember else 1
    return (
        round_up(start + (settings.turns + 1) * turn, LENGTHS),
        round_up(
            length(prompts.describer_trunk(), 1) + questions * asked, LENGTHS
        ),
    )


def pad_prompts(prompts, length: int):
    """Openings, or None for empty places, to padded ids and slots."""
    shape = (len(prompts), round_up(length, LENGTHS))
    ids, slots = np.zeros(shape, np.int32), np.full(shape, -1, np.int32)
    lengths = np.zeros(len(prompts), np.int32)
    for row, prompt in enumerate(prompts):
        if prompt is not None:
            lengths[row] = len(prompt[0])
            ids[row, : lengths[row]], slots[row, : lengths[row]] = prompt
    return (ids, lengths), slots


def bank_slots(found: Encoded, tokens_per_image: int) -> np.ndarray:
    """Where each token of an example finds itself among the image tokens.

    Returns:
      int32 [n], rows of [images * T, D] of the whole bank; -1 for words.
    """
    slots, n = found.image_slots, tokens_per_image
    numbers = np.array((*found.images, 0), np.int32)  # 0 stands for words
    return np.where(slots >= 0, numbers[slots // n] * n + slots % n, -1)


# Kinds of row, for the words that they may not say.
MAY_GUESS, MUST_ASK = 0, 1


def forbidden_words(
    tokenizer: Tokenizer, prompts: Prompts, vocabulary: int
) -> np.ndarray:
    """bool [2, V]: tokens that a role never says, by kind of row.

    Special ones, and those that a model has beyond its tokenizer's words; a
    row that must ask does not say a guess word of one token.
    """
    forbidden = np.arange(vocabulary) >= len(tokenizer.hf)
    special = set(tokenizer.hf.all_special_ids) | {tokenizer.image_id}
    forbidden[list(special - {tokenizer.eos_id})] = True
    kinds = np.stack([forbidden, forbidden])
    guess = tokenizer.encode(prompts.guess)
    if len(guess) == 1:
        kinds[MUST_ASK, guess] = True
    return kinds


def handover(tokenizer: Tokenizer, prompts: Prompts, cut: bool) -> HandOver:
    """How the Guesser's question becomes what the Describer reads."""
    end = prompts.summary_end
    marks = {
        found
        for before in ("", end, f"{end} ")
        if (found := _last_tokens(tokenizer, before, prompts.ask)) is not None
    }
    if not marks:
        raise ValueError(
            f"config.prompts.ask={prompts.ask!r}: the tokenizer does not give "
            "it back as it was. Choose words that it has, with a space before "
            "a word where the tokenizer wants one."
        )
    # A question brings the space before it along.
    before, after = prompts.question_frame()
    return HandOver(
        tuple(sorted(marks)),
        tokenizer.encode(before.rstrip(" ")),
        tokenizer.encode(after),
        cut,
    )


def _last_tokens(tokenizer: Tokenizer, before: str, words: str):
    """The fewest last tokens of `before + words` that hold all the words."""
    ids = tokenizer.encode(before + words)
    ends = (ids[len(ids) - count :] for count in range(len(ids) + 1))
    return next((x for x in ends if tokenizer.decode(x).endswith(words)), None)
