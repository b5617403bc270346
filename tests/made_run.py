"""A workdir as a run leaves it, made by hand in no time."""

import dataclasses
import importlib.util
import json
import pathlib

from vlm_games.data.images import RenderedSource
from vlm_games.data.records import GameRecord, Turn
from vlm_games.data.workdir import Workdir
from vlm_games.methods.descriptions import (
    BLURRED,
    INVENTED,
    RECOLOURED,
    Description,
    DescriptionRecord,
)
from vlm_games.methods.text_records import (
    UNREADABLE,
    UNSURE,
    SituationRecord,
)
from vlm_games.methods.triangle_record import NOT_READ, PairRecord

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


def descriptions(iteration: int) -> list[DescriptionRecord]:
    """STIC's: kept, of an invention and of two spoilt views; and dropped."""
    names = RenderedSource("target/play", IMAGES).names

    def said(text, truths=(1, 1), ended=True) -> Description:
        return Description(text, ended, -2.5, 4, truths)

    def pair(number, source, rejected, kept=True) -> DescriptionRecord:
        return DescriptionRecord(
            number=number,
            iteration=iteration,
            seed=0,
            image=number + 3,
            name=names[number + 3],
            instruction="describe :",
            chosen=said("a red ring ."),
            rejected=rejected,
            source=source,
            plain=None,
            kept=kept,
        )

    return [
        pair(0, INVENTED, said(HOSTILE, (0, 1))),
        pair(1, BLURRED, said("a blue ring .", (0, 1))),
        pair(2, RECOLOURED, said("a green ring .", (0, 1))),
        pair(3, BLURRED, said("a ring and a", ended=False), kept=False),
    ]


def pairs(iteration: int) -> list[PairRecord]:
    """Triangle's: ten that were read, of one kind, and one that was not."""
    names = RenderedSource("target/play", IMAGES).names

    def pair(number, **read) -> PairRecord:
        fields = NOT_READ | read
        place = {"iteration": iteration, "seed": 0, "image": number}
        words = {"name": names[number], "said": HOSTILE, "tokens": 9}
        return PairRecord(number=number, **place, **words, **fields)

    good = [
        pair(
            i,
            question="what color is the ring ?",
            answer=("red", "blue")[i % 2],
            kind="color",
            form="short",
            question_again="what color is it ?",
            answer_again="red",
            similarity_answer=i / 10,
            score=i / 10,
            true=i > 5,
        )
        for i in range(10)
    ]
    return [*good, pair(10)]


def situations(iteration: int) -> list[SituationRecord]:
    """Of text: kept, dropped after its checks, and not to be read."""

    def situation(number, answer, reason, checks=()) -> SituationRecord:
        read = answer is not None
        return SituationRecord(
            number=number,
            iteration=iteration,
            seed=0,
            written=HOSTILE,
            situation="a red ring . a blue cross ." if read else "",
            question="what color is the ring ?" if read else "",
            options=("red", "blue", "green", "none") if read else (),
            answer=answer,
            rationale="the ring is red ." if read else "",
            checks=checks,
            kept=reason is None,
            reason=reason,
            tokens=30,
            true=answer == 0 if read else None,
        )

    return [
        situation(0, 0, None, (0, 0)),
        situation(1, 1, UNSURE, (1, None)),
        situation(2, None, UNREADABLE),
    ]


MADE = {
    "dialog_games": games,
    "stic": descriptions,
    "triangle": pairs,
    "text": situations,
}


def make_run(root, config=None, digests=None, hostile=False) -> Workdir:
    """Main's candidates of two iterations; the second is not measured yet.

    Args:
      digests: of the inputs. hostile: whether a question of a game is HOSTILE.
    """
    config = config or make_config()
    workdir = Workdir(root)
    workdir.root.mkdir(parents=True, exist_ok=True)
    fields = config.to_dict() | {"digests": digests or {}}
    (workdir.root / "config.json").write_text(json.dumps(fields))
    for iteration in (1, 2):
        found = MADE[config.method](iteration)
        if hostile and iteration == 2:
            last = dataclasses.replace(found[3].turns[0], question=HOSTILE)
            found[3] = dataclasses.replace(found[3], turns=(last,))
        workdir.write_shard("main", iteration, 0, found)
    for iteration in (0, 1):
        workdir.write_metrics("main", iteration, metrics(iteration))
    return workdir
