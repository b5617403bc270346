"""Games per second: caches kept, one game at a time, everything read anew.

    python benchmarks/play.py --json=/tmp/play.json

kept        many games at once; images encoded once, a turn reads its new words
one by one  the same with a single slot
re-reading  many games at once; each turn encodes its images and reads the
            whole conversation again

All three run the same `Table` and, within a round, play the same games.
"""

import dataclasses
import json
import pathlib
import statistics
import time
from collections.abc import Callable

import jax
import numpy as np
from absl import flags

from vlm_games import command_line
from vlm_games.data.tokenizer import load_tokenizer
from vlm_games.evaluation.game_success import held_out_specs
from vlm_games.games.play import Role, Table
from vlm_games.games.prompts import Prompts
from vlm_games.games.protocol import GameSettings, PlayedGame
from vlm_games.models.checkpoint import load_model
from vlm_games.models.mesh import make_mesh, place
from vlm_games.models.shipped import SHIPPED
from vlm_games.planning.dry_run import playing_gib
from vlm_games.sampling.engine import Engine
from vlm_games.worlds.splits import load_split

_BASE = flags.DEFINE_string("base", str(SHIPPED), "Model directory.")
_GAMES = flags.DEFINE_integer("games", 256, "Games of a round.", 1)
_SINGLE = flags.DEFINE_integer("single_games", 16, "The same, one by one.", 1)
_SLOTS = flags.DEFINE_integer("slots", 128, "Games at once.", 1)
_IMAGES = flags.DEFINE_integer("images", 4, "Images in a game.", 2)
_POOL = flags.DEFINE_integer("pool", 1000, "Images to draw from.", 2)
_TURNS = flags.DEFINE_integer("turns", 4, "Questions in a game, at most.", 1)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Rounds after the warm-up.", 1)
_SEED = flags.DEFINE_integer("seed", 0, "Of image sets and draws.", 0)
_JSON = flags.DEFINE_string("json", None, "File for the figures.")
_DRY_RUN = command_line.define_dry_run()

FLAGS = (
    *(_BASE, _GAMES, _SINGLE, _SLOTS, _IMAGES),
    *(_POOL, _TURNS, _ROUNDS, _SEED),
)
KEPT, SINGLE, REREADING = "kept", "one by one", "re-reading"
# Reading in one go and turn by turn round differently, which may flip a
# token where two are all but equally likely.
LEAST_SAME = 0.98
_WIDTH = 64  # re-read texts are padded to a multiple of this


@dataclasses.dataclass
class Transcript:
    """What re-reading keeps of B conversations between turns: only text.

    Attributes:
      scratch: Session whose rows are all overwritten at every turn.
      ids: per row its tokens so far, images expanded.
      images: per row the images that its text begins with, in order.
    """

    scratch: object
    ids: list[list[int]]
    images: list[np.ndarray]


class RereadingEngine:
    """Engine's face for `Table`, without any memory but the text."""

    def __init__(self, engine: Engine, pixels: np.ndarray):
        """`pixels` of all images, uint8 [N, H, W, 3]."""
        self.engine, self.config = engine, engine.config
        self.pixels = pixels
        self.shards, self.compilations = engine.shards, engine.compilations
        self.hand_over = engine.hand_over

    def init(self, rows: int, capacity: int) -> Transcript:
        """Empty conversations."""
        scratch = self.engine.init(rows, capacity)
        nothing = np.zeros(0, np.int32)
        return Transcript(scratch, [[] for _ in range(rows)], [nothing] * rows)

    def admit(self, params, session, rows, ids, slots, image_tokens):
        """Notes the newcomers' text and images; the model reads nothing."""
        del params, image_tokens
        per_shard = len(session.ids) // self.shards
        places = len(rows) // self.shards
        for i, (tokens, length) in enumerate(zip(*ids, strict=True)):
            if rows[i] >= per_shard:
                continue
            row = i // places * per_shard + rows[i]
            session.ids[row] = tokens[:length].tolist()
            found = slots[i][slots[i] >= 0]
            per_image = self.config.tokens_per_image
            session.images[row] = found[::per_image] // per_image
        return session

    def grow(self, session, need: int, most: int) -> Transcript:
        """Room for what will be read and said."""
        session.scratch = self.engine.grow(session.scratch, need, most)
        return session

    def turn(
        self,
        params,
        session,
        keep,
        ids,
        row_ids,
        turn_ids,
        active,
        *rest,
        **kinds,
    ):
        """As Engine.turn; `rest` and `kinds` are passed on."""
        ids, active = jax.device_get((ids, active))
        for row, (tokens, length) in enumerate(zip(*ids, strict=True)):
            kept = session.ids[row][: keep[row]]
            session.ids[row] = kept + tokens[:length].tolist()
        if any(active):
            self._read_all(params, session, active)
        rows = len(session.ids)
        nothing = np.zeros((rows, 8), np.int32), np.zeros(rows, np.int32)
        session.scratch, words = self.engine.turn(
            params,
            session.scratch,
            np.full(rows, 1 << 30),
            nothing,
            row_ids,
            turn_ids,
            active,
            *rest,
            **kinds,
        )
        words = jax.device_get(words)
        for row in np.flatnonzero(active):
            said = words.tokens[row, : words.count[row]]
            session.ids[row] += said.tolist()
        return session, words

    def _read_all(self, params, session, active) -> None:
        """Encodes every image and prefills every text of the active rows."""
        rows, per_image = len(session.ids), self.config.tokens_per_image
        most = max(len(images) for images in session.images)
        wanted = np.zeros((rows, most), np.int32)
        longest = max(
            len(x) for x, a in zip(session.ids, active, strict=True) if a
        )
        width = -(-longest // _WIDTH) * _WIDTH
        tokens = np.zeros((rows, width), np.int32)
        slots = np.full((rows, width), -1, np.int32)
        lengths = np.zeros(rows, np.int32)
        for row in np.flatnonzero(active):
            wanted[row] = session.images[row]
            text = np.array(session.ids[row], np.int32)
            lengths[row] = len(text)
            tokens[row, : len(text)] = text
            here = np.flatnonzero(text == self.config.image_token_id)
            start = row * most * per_image
            slots[row, here] = start + np.arange(len(here))
        image_tokens = self.engine.encode(
            params, self.pixels[wanted.reshape(-1)], chunk=rows
        )
        session.scratch = self.engine.admit(
            params,
            session.scratch,
            np.arange(rows, dtype=np.int32) % (rows // self.shards),
            (tokens, lengths),
            slots,
            image_tokens,
        )


@dataclasses.dataclass(frozen=True)
class Way:
    """One way to play: `play(temperature, seed)` gives the played games."""

    play: Callable[[float, int], list[PlayedGame]]
    compilations: Callable[[], int]


def make_way(name: str, config, params, tokenizer, pixels, specs) -> Way:
    """The way `name` of playing `specs` on the images `pixels`."""
    devices = jax.devices()[:1] if name == SINGLE else jax.devices()
    mesh = make_mesh(devices)
    engine = Engine(config, mesh)
    params = place(mesh, params)
    if name == REREADING:
        engine = RereadingEngine(engine, pixels)

    def play(temperature: float, seed: int):
        settings = GameSettings(
            turns=_TURNS.value,
            guesser_temperature=temperature,
            describer_temperature=temperature,
            slots=1 if name == SINGLE else _SLOTS.value,
        )
        table = Table(engine, tokenizer, Prompts(), settings, _IMAGES.value)
        if name == REREADING:
            role = Role(params, None)
            return list(table.play(role, role, specs, (seed,)))
        # Encoding counts, but only of the images of these games.
        used = np.unique([spec.images for spec in specs])
        role = Role(params, engine.encode(params, pixels[used]))
        renumbered = [
            dataclasses.replace(
                spec, images=tuple(np.searchsorted(used, spec.images).tolist())
            )
            for spec in specs
        ]
        return list(table.play(role, role, renumbered, (seed,)))

    return Way(play, engine.compilations)


def words_of(games) -> dict[int, tuple]:
    """All that was said, by game."""
    return {
        game.spec.game: (
            *((x.summary, x.question, x.answer) for x in game.exchanges),
            (game.final_summary, game.guess, game.reason),
        )
        for game in games
    }


def check_same(greedy: dict[str, dict]) -> dict[str, str]:
    """How many games come out as with caches kept, "same/all" per way.

    Raises:
      RuntimeError: so few that it is no rounding; a way plays other games.
    """
    found = {}
    for name, games in greedy.items():
        same = sum(words == greedy[KEPT][game] for game, words in games.items())
        found[name] = f"{same}/{len(games)}"
        if same < LEAST_SAME * len(games):
            raise RuntimeError(
                f"Greedy games {name!r}: only {found[name]} say what they say "
                "with caches kept. Rounding explains one in a hundred: the "
                "benchmark would compare different work."
            )
    return found


def timed(way: Way, seed: int) -> tuple[float, int]:
    """(seconds, games) of one sampled play."""
    started = time.perf_counter()
    games = way.play(1.0, seed)
    return time.perf_counter() - started, len(games)


def measure(ways: dict[str, Way]) -> dict[str, dict]:
    """First calls, then interleaved rounds; one seed for all ways of a round.

    The first call is the greedy one of the check: at another temperature the
    same programs run.
    """
    greedy, first = {}, {}
    for name, way in ways.items():
        started = time.perf_counter()
        greedy[name] = words_of(way.play(0.0, 0))
        first[name] = time.perf_counter() - started
    same = check_same(greedy)
    for way in ways.values():
        timed(way, _SEED.value)  # longer talk may need a longer bucket
    compiled = {name: way.compilations() for name, way in ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(1, _ROUNDS.value + 1):
        for name, way in ways.items():
            seconds[name].append(timed(way, _SEED.value + number)[0])
    figures = {}
    for name, way in ways.items():
        median, games = statistics.median(seconds[name]), len(greedy[name])
        figures[name] = {
            "games_per_second": games / median,
            "games": games,
            "seconds": seconds[name],
            "compile_seconds": first[name] - median,
            "compiles_after_warm_up": way.compilations() - compiled[name],
            "same_greedy_games": same[name],
        }
    return figures


def table_of(figures: dict[str, dict]) -> str:
    """The figures as text; the ratio is that of `kept` to each way."""
    best = figures[KEPT]["games_per_second"]
    lines = [
        f"{'':<12}{'games/s':>9}{'kept is':>9}{'compile s':>11}"
        f"{'compiles':>10}{'same games':>12}"
    ]
    for name, f in figures.items():
        rate = f["games_per_second"]
        lines.append(
            f"{name:<12}{rate:>9.1f}{best / rate:>8.1f}x"
            f"{f['compile_seconds']:>11.1f}{f['compiles_after_warm_up']:>10}"
            f"{f['same_greedy_games']:>12}"
        )
    return "\n".join(lines)


def tell() -> str:
    """What would be done."""
    fields = {
        "base": _BASE.value,
        "iterations": 1,
        "play_images": _POOL.value,
        "play.slots": _SLOTS.value,
        "play.turns": _TURNS.value,
        "game.games": _GAMES.value,
        "game.images": _IMAGES.value,
    }
    given = [f"config.{name}={value}" for name, value in fields.items()]
    config = command_line.load_config("scenes", given)
    devices = jax.device_count()
    gib = playing_gib(config, devices, command_line.own_configs())
    games = {KEPT: _GAMES, SINGLE: _SINGLE, REREADING: _GAMES}
    told = [f"{name}: {flag.value} games" for name, flag in games.items()]
    return (
        f"{_BASE.value}; {', '.join(told)} in each of {_ROUNDS.value} rounds "
        f"after two of warm-up; {_SLOTS.value} at once, of {_IMAGES.value} of "
        f"{_POOL.value} images, up to {_TURNS.value} turns.\n"
        f"About {gib:.2f} GiB of each of {devices} devices with caches kept, "
        "and the image tokens of every turn where they are read anew."
    )


def main() -> None:
    if _DRY_RUN.value:
        print(tell())
        return
    config, params = load_model(_BASE.value)
    tokenizer = load_tokenizer(_BASE.value)
    _, pixels = load_split(
        "target/play", _POOL.value, size=config.vision.image_size
    )
    specs = held_out_specs(
        _GAMES.value, _IMAGES.value, len(pixels), _SEED.value
    )
    chosen = {
        KEPT: specs,
        SINGLE: specs[: _SINGLE.value],
        REREADING: specs,
    }
    figures = measure(
        {
            name: make_way(name, config, params, tokenizer, pixels, some)
            for name, some in chosen.items()
        }
    )
    print(table_of(figures))
    if _JSON.value:
        found = {
            "device": f"{len(jax.devices())} x {jax.devices()[0].device_kind}",
            "flags": {flag.name: flag.value for flag in FLAGS},
            "ways": figures,
        }
        text = json.dumps(found, indent=2) + "\n"
        pathlib.Path(_JSON.value).write_text(text)
    compiled = figures[KEPT]["compiles_after_warm_up"]
    if compiled:
        raise SystemExit(
            f"{compiled} programs were compiled after the warm-up; expected 0."
        )


if __name__ == "__main__":
    command_line.run(main)
