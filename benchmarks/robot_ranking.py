"""How well models of runs rank successes of a robot above failures.

    python benchmarks/robot_ranking.py --runs=/tmp/fig/seed_0,/tmp/fig/seed_1 \
        --json=docs/results/robot_ranking.json

A model can answer better because it says "yes" more readily. This figure is
blind to that: of all pairs of a success and a failure, the share, in percent,
in which "yes" is likelier of the success (50 is chance); ROC AUC.
"""

import collections
import json
import pathlib
import re
import sys

import numpy as np
import scipy.stats
from absl import flags

from vlm_games import command_line, workbench
from vlm_games.data.examples import Example, read, said
from vlm_games.data.workdir import Workdir
from vlm_games.evaluation.measure import stack
from vlm_games.report.intervals import interval
from vlm_games.training import checkpoint

_RUNS = flags.DEFINE_list("runs", None, "Workdirs of one config's seeds.")
_JSON = flags.DEFINE_string("json", None, "File for the figures.")
_DRY_RUN = command_line.define_dry_run()
CHECKPOINTS = "arms/*/iter_*/checkpoint"


def ranking(bench, params, outcomes) -> float:
    """Of one model, percent. `outcomes`: of `evaluation.robot`."""
    tokens = bench.engine.encode(params, stack(outcomes.images))
    trunk = (read(bench.prompts.describer_trunk()),)
    examples = [
        Example(
            (item.image,),
            trunk,
            (
                (
                    read(bench.prompts.question_only(item.question.text)),
                    said(bench.prompts.reply("yes")),
                ),
            ),
        )
        for item in outcomes.items
    ]
    scores = bench.scorer.score(params, tokens, examples)
    yes = np.array([score.log_prob for (score,) in scores])
    true = np.array([item.answer == "yes" for item in outcomes.items])
    found = scipy.stats.mannwhitneyu(yes[true], yes[~true])
    return 100.0 * float(found.statistic) / (true.sum() * (~true).sum())


def tell(runs: list[str]) -> str:
    """What would be done."""
    found = [p for r in runs for p in pathlib.Path(r).glob(CHECKPOINTS)]
    return (
        f"{len(found)} models of {len(runs)} runs would rank the episodes of "
        "config.eval.robot; about 1 GiB."
    )


def main() -> None:
    if _DRY_RUN.value:
        print(tell(_RUNS.value))
        return
    config = workbench.config_of(Workdir(_RUNS.value[0]))
    setup = workbench.build(config)
    outcomes = setup.held_out.outcomes["robot"]
    base = ranking(setup.bench, setup.base_params, outcomes)
    gains = collections.defaultdict(list)
    for run in _RUNS.value:
        for path in sorted(pathlib.Path(run).glob(CHECKPOINTS)):
            params = checkpoint.load(path, setup.base_params)
            found = ranking(setup.bench, params, outcomes)
            arm = path.parents[1].name
            number = int(re.sub(r"\D", "", path.parent.name))
            gains[f"{arm} {number}"].append(found - base)
            print(run, arm, number, round(found, 1), flush=True)
    result = {
        "command": " ".join(["python", *sys.argv]),
        "base": base,
        "gain": {name: interval(values) for name, values in gains.items()},
    }
    for name, x in result["gain"].items():
        print(f"{name}: {x['mean']:+.1f} ± {x['half_width']:.1f}")
    if _JSON.value:
        text = json.dumps(result, indent=1) + "\n"
        pathlib.Path(_JSON.value).write_text(text)


if __name__ == "__main__":
    command_line.run(main, ["runs"])
