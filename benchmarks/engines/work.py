"""One definition of the work, for every engine; needs only numpy.

A game: the Guesser reads an opening with all its images; in each turn it says
`tokens` tokens, all of which the Describer, which sees the target, is asked;
the Describer says as many, which the Guesser hears. No token ends a turn
early, so that all engines do the same. Greedy.
"""

import dataclasses
import json
import pathlib
import time
from collections.abc import Callable, Sequence

import numpy as np

FILE, PICTURES = "work.json", "pictures_{}.npy"


@dataclasses.dataclass(frozen=True)
class Work:
    """What is played; every engine reads it from the same file.

    Attributes:
      games, images, turns, tokens: how many.
      image_id: the token that stands for a picture.
      image_tokens: places of the model that a picture takes.
      opening: what the Guesser reads, `image_id` once per picture.
      trunk: what the Describer reads before a question.
      asked: tokens around the question. heard: around the answer.
      targets: per game.
      longest: tokens of a conversation, at most.
      prompts: of vlm_games, for ours: they read as the ids above do.
    """

    games: int
    images: int
    turns: int
    tokens: int
    image_id: int
    image_tokens: int
    opening: tuple[int, ...]
    trunk: tuple[int, ...]
    asked: tuple[tuple[int, ...], tuple[int, ...]]
    heard: tuple[tuple[int, ...], tuple[int, ...]]
    targets: tuple[int, ...]
    longest: int
    prompts: dict[str, str]

    def prompt_tokens(self, turns: int) -> int:
        """Of all prompts of so many turns of all games, pictures counted."""
        spread = self.image_tokens - 1
        asks = len(self.opening) + self.images * spread
        answers = len(self.trunk) + spread + self.tokens
        answers += sum(map(len, self.asked))
        turn = 2 * self.tokens + sum(map(len, self.heard))
        history = turn * turns * (turns - 1) // 2
        return self.games * (turns * (asks + answers) + history)

    def save(self, folder: pathlib.Path) -> None:
        """Writes it where `load` finds it."""
        text = json.dumps(dataclasses.asdict(self), indent=2)
        (folder / FILE).write_text(text)

    @classmethod
    def load(cls, folder: pathlib.Path) -> "Work":
        """Reads what `save` wrote."""
        fields = json.loads((folder / FILE).read_text())
        return cls(**fields)


@dataclasses.dataclass
class Counts:
    """What a round took.

    Attributes:
      computed: tokens of prompts that the model read, and did not have from a
        cache; pictures counted.
      syncs: times that the host waited for a device, where that is known.
    """

    computed: int = 0
    syncs: int = 0


@dataclasses.dataclass(frozen=True)
class Prompt:
    """What a model reads before it speaks: ids, and pictures by number."""

    ids: list[int]
    pictures: list[int]


@dataclasses.dataclass(frozen=True)
class Played:
    """What came of a round.

    Attributes:
      said: [games][turns][2] lists of ids. ends: seconds from the start to
        the end of each turn.
    """

    said: list
    ends: list[float]


def pictures(folder: pathlib.Path, number: int) -> np.ndarray:
    """uint8 [games * images, H, W, 3] of a round."""
    return np.load(folder / PICTURES.format(number))


def play(
    work: Work, generate: Callable[[Sequence[Prompt]], list[list[int]]]
) -> Played:
    """Plays by an engine that reads whole prompts, as chats are served.

    Args:
      generate: greedy tokens, `work.tokens` of them, after each prompt.
    """
    start, ends = time.perf_counter(), []
    said = [[] for _ in range(work.games)]
    histories = [list(work.opening) for _ in range(work.games)]
    for _ in range(work.turns):
        questions = generate(
            [
                Prompt(ids, [g * work.images + i for i in range(work.images)])
                for g, ids in enumerate(histories)
            ]
        )
        before, after = work.asked
        answers = generate(
            [
                Prompt(
                    [*work.trunk, *before, *question, *after],
                    [g * work.images + work.targets[g]],
                )
                for g, question in enumerate(questions)
            ]
        )
        before, after = work.heard
        for g, (q, a) in enumerate(zip(questions, answers, strict=True)):
            histories[g] += [*q, *before, *a, *after]
            said[g].append([list(q), list(a)])
        ends.append(time.perf_counter() - start)
    return Played(said, ends)
