"""How well a base keeps to the formats of the methods, and how truly.

    python benchmarks/tasks.py --base=scenes_tasks

On scenes of a split, in percent: pairs of question and answer that it makes up,
questions found for an answer, multiple choices on images and on true captions,
records written from nothing.
"""

import json
import pathlib
import sys

import jax
import numpy as np
from absl import flags

from vlm_games import command_line
from vlm_games.base_model import load_base
from vlm_games.data.images import RenderedSource
from vlm_games.evaluation.choices import choice_accuracy, draw_choices
from vlm_games.evaluation.descriptions import describe, description_figures
from vlm_games.evaluation.questions import draw_items
from vlm_games.evaluation.speaker import Speaker
from vlm_games.games.answer import ROWS, Asked, answer
from vlm_games.games.instructions import read_back
from vlm_games.games.play import Role
from vlm_games.models.mesh import make_mesh
from vlm_games.planning.dry_run import playing_gib
from vlm_games.sampling.engine import Engine
from vlm_games.worlds import questions as world

_BASE = flags.DEFINE_string("base", "", "As config.base.")
_SPLIT = flags.DEFINE_string("split", "target/validation", "Of the scenes.")
_SCENES = flags.DEFINE_integer("scenes", 250, "How many.", 1)
_JSON = flags.DEFINE_string("json", None, "File for the figures.")
_DRY_RUN = command_line.define_dry_run()
OPTIONS = 4
# Tokens of an answer: a pair, a question, a record, a description.
PAIR, QUESTION, RECORD, DESCRIPTION = 24, 16, 72, 40


def percent(found) -> float | None:
    """Mean of truths."""
    return round(100 * float(np.mean(found)), 1) if len(found) else None


def is_true(question: str, answered: str, scene) -> bool:
    """Whether it is a known question, and that its answer."""
    asked = world.BY_TEXT.get(question)
    return asked is not None and answered in world.answers(asked, scene)


def pairs(say, words, scenes) -> dict:
    """Question and answer in one go, at temperature 1."""
    asked = [
        Asked(i, words.prompts.instruct(words.instructions.pair[0]), (i, 0))
        for i in range(len(scenes))
    ]
    found = [
        read_back(words.instructions.pair_said, x.text)
        for x in say(asked, PAIR, 1.0)
    ]
    known = [
        (world.BY_TEXT[f["question"]], f["answer"], scene)
        for f, scene in zip(found, scenes, strict=True)
        if f and f["question"] in world.BY_TEXT
    ]
    there = [
        "none" not in world.answers(q, scene)
        for q, _, scene in known
        if not q.yes_no
    ]
    yes = [answered == "yes" for q, answered, _ in known if q.yes_no]
    return {
        "pair_legal": percent([x < len(known) for x in range(len(found))]),
        "pair_true": percent([a in world.answers(q, s) for q, a, s in known]),
        "pair_about_something": percent(there),
        "pair_says_yes": percent(yes),
    }


def asked_for(say, words, scenes) -> dict:
    """Questions for answers, greedy."""
    items = [x for x in draw_items(scenes, 0) if x.image % 2]
    asked = [
        Asked(
            x.image,
            words.prompts.instruct(
                words.instructions.ask_for[0].format(answer=x.answer)
            ),
        )
        for x in items
    ]
    found = say(asked, QUESTION, 0.0)
    true = [
        is_true(f.text, x.answer, scenes[x.image])
        for f, x in zip(found, items, strict=True)
    ]
    return {"ask_for_true": percent(true)}


def records(say, words, count: int) -> dict:
    """Records written without an image, at temperature 1."""
    spoken = words.instructions
    prompt = words.prompts.instruct(spoken.situation[0], image=False)
    asked = [Asked(None, prompt, (i, 0)) for i in range(count)]
    texts = [x.text for x in say(asked, RECORD, 1.0)]
    template = spoken.situation_with(OPTIONS)
    legal, right, grounded = [], [], []
    for fields in [read_back(template, text) for text in texts]:
        scene = world.read_caption(fields["situation"]) if fields else None
        legal.append(
            scene is not None
            and fields["question"] in world.BY_TEXT
            and fields["answer"] in spoken.marks
        )
        if legal[-1]:
            option = fields[f"option_{spoken.marks.index(fields['answer'])}"]
            question = world.BY_TEXT[fields["question"]]
            right.append(is_true(question.text, option, scene))
            reason = world.grounds(question, option, scene)
            grounded.append(fields["rationale"] == reason)
    return {
        "records_legal": percent(legal),
        "records_right": percent(right),
        "records_grounded": percent(grounded),
    }


def tell() -> str:
    """What would be done; most memory is taken where records are written."""
    fields = [
        f"config.base={_BASE.value}",
        "config.method=text",
        "config.iterations=1",
        f"config.text.rows={ROWS}",
        f"config.text.tokens={RECORD}",
    ]
    config = command_line.load_config("scenes", fields)
    gib = playing_gib(config, 1, command_line.own_configs())
    n = _SCENES.value
    return (
        f"{_BASE.value or 'the shipped base'} on {n} scenes of {_SPLIT.value}: "
        f"{n} pairs of up to {PAIR} tokens, {n} records of {RECORD}, {n} "
        f"descriptions of {DESCRIPTION}, questions for the answers on every "
        f"other scene, of {QUESTION}, and multiple choices, seen and told.\n"
        f"About {gib:.2f} GiB of one device, {ROWS} answers at a time."
    )


def main() -> None:
    if _DRY_RUN.value:
        print(tell())
        return
    mesh = make_mesh(jax.devices()[:1])
    base = load_base(_BASE.value, "float32", 0, {}, mesh)
    engine = Engine(base.model, mesh)
    size = base.model.vision.image_size
    source = RenderedSource(_SPLIT.value, _SCENES.value, size)
    role = Role(base.params, engine.encode(base.params, source.images))
    speaker = Speaker(engine, base.tokenizer, base.prompts, base.instructions)

    def say(asked, limit: int, temperature: float):
        return answer(engine, base.tokenizer, role, asked, limit, temperature)

    items = draw_choices(source.scenes, 0)
    told = [world.caption(source.scenes[x.image]) for x in items]
    seen = choice_accuracy(speaker, role, items, 0)
    read = choice_accuracy(speaker, role, items, 0, told)
    texts = describe(speaker, role, len(source), DESCRIPTION)
    result = {
        **pairs(say, base, source.scenes),
        **asked_for(say, base, source.scenes),
        "choice": seen["choice"],
        "choice_unparsed": seen["choice_unparsed"],
        "choice_told": read["choice"],
        "choice_told_unparsed": read["choice_unparsed"],
        "choices": len(items),
        **records(say, base, _SCENES.value),
        **description_figures(texts, source.scenes),
    }
    print(json.dumps(result, indent=2))
    if _JSON.value:
        result["command"] = " ".join(["python", *sys.argv])
        pathlib.Path(_JSON.value).write_text(json.dumps(result) + "\n")


if __name__ == "__main__":
    command_line.run(main)
