"""A workdir as a run of dialog games leaves it, made by hand in no time."""

import dataclasses
import importlib.util
import json
import pathlib

from vlm_games.data.images import RenderedSource
from vlm_games.data.records import GameRecord, Turn
from vlm_games.data.workdir import Workdir

ROOT = pathlib.Path(__file__).parents[1]
IMAGES = 12
# Text that a page must not take for markup.
HOSTILE = "is there a <script>alert(1)</script> ?"


def make_config(**fields):
    """The default config with few images; fields such as play__turns=2."""
    path = ROOT / "configs" / "scenes.py"
    spec = importlib.util.spec_from_file_location("scenes", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config()
    small = {
        "iterations": 2,
        "play_images": IMAGES,
        "play__slots": 8,
        "game__shard": 4,
        "eval__target_images": 8,
        "eval__source_images": 8,
        "eval__games": 2,
        "train__replay_images": 8,
    }
    for name, value in (small | fields).items():
        *parts, last = name.split("__")
        found = config
        for part in parts:
            found = found[part]
        found[last] = value
    return config


def turn(question, answer, belief, credit=1.0, true=True) -> Turn:
    return Turn(question, answer, "1 yes", -1.0, -0.5, belief, credit, true)


def games(iteration: int) -> list[GameRecord]:
    """Four games: kept, dropped, aborted at once, and lost but kept."""
    names = RenderedSource("target/play", IMAGES).names
    sure, unsure = (0.1, 0.6, 0.2, 0.1), (0.4, 0.3, 0.2, 0.1)

    def game(number, images, turns, guess, kept, reason=None) -> GameRecord:
        outcome = "success" if guess == 1 else "lose"
        return GameRecord(
            game=number,
            iteration=iteration,
            seed=0,
            images=images,
            names=tuple(names[i] for i in images),
            target=1,
            turns=tuple(turns),
            final_summary="2 yes" if turns else "",
            guess=guess,
            belief=turns[-1].belief if turns else (0.25,) * 4,
            outcome="aborted" if reason else outcome,
            reason=reason,
            filters={"complete": not reason, "success": guess == 1}
            | {"likelihood": kept, "views": kept},
            kept=kept,
        )

    red, ring = "is there a red object ?", "is there a ring ?"
    return [
        game(
            0,
            (0, 1, 2, 3),
            [turn(red, "yes", unsure), turn(ring, "no", sure)],
            1,
            True,
        ),
        game(1, (4, 1, 6, 7), [turn(red, "no", unsure, true=False)], 0, False),
        game(2, (8, 9, 10, 11), [], None, False, "no question or guess found"),
        game(
            3,
            (5, 4, 8, 0),
            [turn(red, "no", sure), turn(ring, "yes", sure)],
            3,
            True,
        ),
    ]


def metrics(iteration: int) -> dict:
    figures = ("game_success", "vqa_yes_no", "vqa_other", "source_yes_no")
    found = {name: 50.0 + iteration for name in figures}
    return {
        "iteration": iteration,
        **found,
        "games_played": 4,
        "games_kept": 2,
        "budget": {"kept": 2, "describer": 4, "guesser": 1},
        "seconds": 1.0,
    }


def make_run(root, config=None, digests=None, hostile=False) -> Workdir:
    """Main's games of two iterations; the second is not measured yet.

    Args:
      digests: of the inputs. hostile: whether a question is HOSTILE.
    """
    config = config or make_config()
    workdir = Workdir(root)
    workdir.root.mkdir(parents=True, exist_ok=True)
    fields = config.to_dict() | {"digests": digests or {}}
    (workdir.root / "config.json").write_text(json.dumps(fields))
    for iteration in (1, 2):
        found = games(iteration)
        if hostile and iteration == 2:
            last = dataclasses.replace(found[3].turns[0], question=HOSTILE)
            found[3] = dataclasses.replace(found[3], turns=(last,))
        workdir.write_shard("main", iteration, 0, found)
    for iteration in (0, 1):
        workdir.write_metrics("main", iteration, metrics(iteration))
    return workdir
