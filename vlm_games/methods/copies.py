"""Hard distractors: the target once more, corrupted, among a game's images.

    images of the source      copies
    0  1  2  ...  n - 1     | n  n + 1  ...

STIC's corrupted views (arXiv 2405.19716) in a game: to find the target, the
Guesser has to ask about what blur or false colours hide. Copies stand behind
the images, in the bank of image tokens as in what examples are fed from.
"""

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict

from vlm_games.data.fetch import fetch
from vlm_games.data.images import Groups, ImageSource
from vlm_games.data.records import GameRecord
from vlm_games.games.image_sets import ImageSet
from vlm_games.methods import corrupt
from vlm_games.methods.method import Surroundings, Workbench

_STREAM = 0xC0B1E5  # keeps these draws apart from others of a game


@dataclasses.dataclass(frozen=True)
class Copy(corrupt.Corruption):
    """A corrupted copy.

    Attributes:
      game: whose. image: index of its target.
    """

    game: int
    image: int


class WithCopies:
    """Images, and copies behind them; see `ImageSource`.

    Attributes:
      pixels: uint8 [copies, H, W, 3], the copies.
      groups: nothing is known; sets were drawn before.
    """

    def __init__(self, images: ImageSource, copies: Sequence[Copy], side: int):
        """`side`: the short one of a blurred image, pixels."""
        self._images = images
        clean = fetch(images, [copy.image for copy in copies])
        self.pixels = corrupt.corrupt(clean, copies, side)
        self.names = [
            *images.names,
            *(
                f"{images.names[c.image]}, {c.source} in game {c.game}"
                for c in copies
            ),
        ]
        self.groups = Groups.unknown(len(self.names))

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> np.ndarray:
        behind = index - len(self._images)
        return self._images[index] if behind < 0 else self.pixels[behind]

    def digest(self) -> str:
        copies = hashlib.sha256(self.pixels.tobytes()).hexdigest()
        return f"{self._images.digest()}:{copies}"


def put_copies(
    sets: Sequence[ImageSet], bench: Workbench, iteration: int
) -> tuple[list[ImageSet], ImageSource]:
    """The sets of all games, some with a copy for one of the distractors.

    Equally many in every iteration, so that shapes stay the same.

    Returns:
      sets, by game, and the images that they count.
    """
    seed, total = (bench.config.seed, iteration), len(bench.images)
    sets = list(sets)
    copies: list[Copy] = []
    for game in copied_games(bench.config, iteration, len(sets)):
        found = sets[game]
        images = list(found.images)
        images[_place(game, found, seed)] = total + len(copies)
        sets[game] = ImageSet(tuple(images), found.target)
        target = found.images[found.target]
        copies.append(_draw(game, target, seed, bench.config.stic))
    return sets, _behind(bench, copies)


def copied_games(config: ConfigDict, iteration: int, games: int) -> list[int]:
    """Numbers of the games that have a copy, in order: so the copies stand.

    Args:
      config: of the run. games: how many an iteration has.
    """
    rng = np.random.default_rng((config.seed, iteration, _STREAM))
    count = round(config.game.corrupted * games)
    return np.sort(rng.choice(games, count, replace=False)).tolist()


def with_copies(
    records: Sequence[GameRecord], bench: Surroundings
) -> tuple[list[GameRecord], ImageSource]:
    """Games whose `images` count what they were played on, and those images."""
    total, numbered = len(bench.images), []
    copies: list[Copy] = []
    for record in records:
        if record.copy is not None:
            images = list(record.images)
            target = images[record.target]
            images[record.copy] = total + len(copies)
            seed = (record.seed, record.iteration)
            copies.append(_draw(record.game, target, seed, bench.config.stic))
            record = dataclasses.replace(record, images=tuple(images))
        numbered.append(record)
    return numbered, _behind(bench, copies)


def _behind(bench: Surroundings, copies: Sequence[Copy]) -> ImageSource:
    if not copies:
        return bench.images
    return WithCopies(bench.images, copies, bench.config.stic.low_side)


def _place(game: int, found: ImageSet, seed: tuple[int, int]) -> int:
    """The position of the distractor that makes room."""
    rng = np.random.default_rng((*seed, game, _STREAM, 0))
    places = [i for i in range(len(found.images)) if i != found.target]
    return int(rng.choice(places))


def _draw(game: int, image: int, seed: tuple[int, int], config) -> Copy:
    """How the copy in a game is corrupted; config: `config.stic`."""
    rng = np.random.default_rng((*seed, game, _STREAM, 1))
    source = corrupt.draw_source(rng)
    return Copy(source, *corrupt.draw_colours(rng, config), game, image)
