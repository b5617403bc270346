"""How often the base goes against itself when a leading question is put openly.

    python benchmarks/contradictions.py --json=docs/results/contradictions.json

Every question that has an open form (`Prompts.openly`) is asked of every scene,
and put openly, greedily. For each answer, by whether it holds: how often it is
given, and how often it is true.
"""

import collections
import json
import pathlib
import runpy
import sys

import jax
from absl import flags

from vlm_games import command_line, workbench
from vlm_games.data.images import RenderedSource
from vlm_games.evaluation.measure import stack
from vlm_games.games.answer import Asked, answer
from vlm_games.games.openly import Leading, ask_openly, put_openly
from vlm_games.games.play import Role
from vlm_games.planning.dry_run import playing_gib
from vlm_games.worlds import questions as world

_SCENES = flags.DEFINE_integer("scenes", 200, "Scenes of either domain.", 1)
_JSON = flags.DEFINE_string("json", None, "File for the figures.")
_DRY_RUN = command_line.define_dry_run()
CONFIG = pathlib.Path(__file__).parents[1] / "configs" / "scenes.py"


def tell(config) -> str:
    """What would be done."""
    gib = playing_gib(config, jax.device_count(), CONFIG.parent)
    return (
        f"Leading questions on {_SCENES.value} scenes of either domain, each "
        f"put openly as well; about {gib:.2f} GiB of each of "
        f"{jax.device_count()} devices."
    )


def ask(bench, params, source: RenderedSource) -> dict[str, dict[str, float]]:
    """Of each answer, by whether it holds: `given`; `true`, percent."""
    role = Role(params, bench.engine.encode(params, stack(source)))
    asked = [
        (number, question)
        for number in range(len(source))
        for question in world.QUESTIONS
        if put_openly(question.text, bench.prompts.openly)
    ]
    limit = bench.config.play.answer_tokens
    prompts = [
        Asked(number, bench.prompts.ask_describer(question.text))
        for number, question in asked
    ]
    said = answer(bench.engine, bench.tokenizer, role, prompts, limit)
    leading = [
        Leading(number, question.text, found.text)
        for (number, question), found in zip(asked, said, strict=True)
    ]
    opened = ask_openly(
        bench.engine, bench.tokenizer, bench.prompts, role, leading, limit
    )
    true = collections.defaultdict(list)
    for (number, question), one, put in zip(
        asked, leading, opened, strict=True
    ):
        if put is not None:
            name = f"{one.answer}, {'holds' if put.holds else 'does not hold'}"
            rights = world.answers(question, source.scenes[number])
            true[name].append(one.answer in rights)
    return {
        name: {"given": len(found), "true": 100.0 * sum(found) / len(found)}
        for name, found in sorted(true.items())
    }


def main() -> None:
    config = runpy.run_path(str(CONFIG))["get_config"]()
    if _DRY_RUN.value:
        print(tell(config))
        return
    setup = workbench.build(config)
    size, found = setup.bench.model.vision.image_size, {}
    for domain in ("source", "target"):
        scenes = RenderedSource(f"{domain}/test", _SCENES.value, size)
        found[domain] = ask(setup.bench, setup.base_params, scenes)
        print(domain, json.dumps(found[domain], indent=1), flush=True)
    if _JSON.value:
        result = {
            "command": " ".join(["python", *sys.argv]),
            "scenes": _SCENES.value,
            "answers": found,
        }
        pathlib.Path(_JSON.value).write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    command_line.run(main)
