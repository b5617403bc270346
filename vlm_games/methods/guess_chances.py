"""What the Guesser would name if it had to guess now, after every turn.

The listener's belief (`games.listener`) says what the answers tell; this is
what the Guesser makes of them. It is for looking at: nothing is chosen by it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.special

from vlm_games.data.examples import Example, Piece, read, said
from vlm_games.data.records import GameRecord
from vlm_games.methods.copies import with_copies
from vlm_games.methods.method import Workbench


def guess_chances(
    bench: Workbench, params: Any, records: Sequence[GameRecord]
) -> list[np.ndarray]:
    """Probability of each image, were the Guesser's next move a guess.

    It reads the dialog up to a turn and its own summary of it, and then every
    "guess k" is scored: p(guess k | ...) over their sum.

    Args:
      bench: with the rules that the games were played by.
      params: of the Guesser; those that played, or others.
      records: played games, complete or not.

    Returns:
      per game float [turns, N]; rows sum to 1.

    Raises:
      ValueError: by these rules the Guesser names no image itself.
    """
    if bench.config.play.guess == "likelihood":
        raise ValueError(
            "config.play.guess='likelihood': the Guesser names no image "
            "itself; look at the belief of each turn instead."
        )
    shown, images = with_copies(records, bench)
    used = sorted({i for record in shown for i in record.images})
    place = {image: k for k, image in enumerate(used)}
    examples = [
        example
        for record in shown
        for example in _examples(bench, record, place)
    ]
    if not examples:
        return [np.zeros((0, len(record.images))) for record in records]
    pixels = np.stack([images[i] for i in used])
    tokens = bench.engine.encode(params, pixels, len(pixels))
    scores = iter(bench.scorer.score(params, tokens, examples))
    found = []
    for record in records:
        logits = [[s.log_prob for s in next(scores)] for _ in record.turns]
        shape = (len(record.turns), len(record.images))
        logits_TxN = np.array(logits).reshape(shape)
        found.append(scipy.special.softmax(logits_TxN, axis=-1))
    return found


def _examples(bench: Workbench, record: GameRecord, place) -> list[Example]:
    """Per turn the dialog up to its answer, with a branch per guess.

    Args:
      place: of an image of the source among the encoded ones.
    """
    prompts, rules = bench.prompts, bench.config.play
    images = tuple(place[i] for i in record.images)
    pieces: list[Piece] = [
        read(prompts.open_game(len(images), rules.style)),
        read(prompts.next_cue(False)),
    ]
    # A turn's summary was said before its question, so that what the Guesser
    # makes of an answer stands in the next one.
    after = [*[turn.summary for turn in record.turns], record.final_summary]
    found = []
    for number, turn in enumerate(record.turns, start=1):
        move = f"{prompts.ask} {turn.question}"
        pieces.append(read(prompts.speak(turn.summary, move)))
        hears = read(prompts.hear(turn.answer, number >= rules.turns))
        said_then = [
            prompts.speak(after[number], f"{prompts.guess} {k + 1}")
            for k in range(len(images))
        ]
        branches = tuple((hears, said(words)) for words in said_then)
        found.append(Example(images, tuple(pieces), branches))
        pieces.append(hears)
    return found
