"""What a dry run tells of every method and command, against the real thing."""

import pathlib
import re
import subprocess
import sys

import pytest

from vlm_games import command_line, export
from vlm_games.data.tokenizer import load_tokenizer
from vlm_games.methods.registry import METHODS
from vlm_games.models.shipped import find_shipped
from vlm_games.planning import budget, cost
from vlm_games.planning.dry_run import dry_run
from vlm_games.planning.plan import Device, make_plan
from vlm_games.pretraining import train

ROOT = pathlib.Path(__file__).parents[1]
STAGES = {
    "dialog_games": ["train"],
    "stic": ["prefer", "infuse"],
    "triangle": ["tune", "learn"],
    "text": ["learn"],
}


def plan_of(method: str, *overrides: str, devices: int = 1):
    config = command_line.load_config(f"compare:{method}", overrides)
    return make_plan(config, devices, ROOT / "configs")


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_told_with_its_stages(method):
    plan = plan_of(method)
    text, fits = dry_run(plan.config, Device(1), ROOT / "configs")
    assert fits and "nan" not in text
    table = budget.table(plan)
    phases = [x for x in table if x not in ("params", "score")]
    assert phases == ["play", *STAGES[method], "measure"]
    for stage in STAGES[method]:
        assert f"\n  {stage}: " in text
    assert "60,000 tokens" in text or method == "stic"


def test_prompts_are_as_long_as_the_tokenizer_makes_them():
    plan = plan_of("stic")
    tokenizer = load_tokenizer(str(find_shipped("scenes_tasks")))
    (chosen,) = [
        x for x in plan.estimate.talks if x.name == "chosen descriptions"
    ]
    longest = max(
        len(tokenizer.encode(plan.prompts.instruct(x)))
        for x in plan.instructions.careful
    )
    image = plan.model.tokens_per_image - 1  # the place of the image is one
    assert chosen.read == longest + image


def test_what_a_stage_goes_on_with_lies_beside_the_others():
    plan = plan_of("stic")
    first, second = plan.estimate.lessons
    assert "of 2:" in budget.train_rows(plan, first)[0].name
    assert "prefer" in budget.train_rows(plan, second)[0].name
    tune, learn = plan_of("triangle").estimate.lessons
    assert tune.warm_up and not learn.warm_up
    assert "of 2:" in budget.train_rows(plan_of("triangle"), learn)[0].name


def test_frozen_parts_have_no_gradients():
    plan = plan_of("text")
    (lesson,) = plan.estimate.lessons
    _, own, *_ = budget.train_rows(plan, lesson)
    parts = {row.name: row.count for row in budget.param_rows(plan)}
    assert own.count == parts["decoder"] + parts["embeddings"]


def test_training_costs_six_operations_a_param_and_token():
    plan = plan_of("text")
    (lesson,) = plan.estimate.lessons
    found = cost.lesson_cost(plan, lesson, 2)
    assert found.read == 2 * 144 * 24 * 96
    params = sum(
        row.count for row in budget.param_rows(plan) if row.name != "vision"
    )
    assert found.tflop == pytest.approx(6e-12 * params * found.read)


def test_candidates_cost_no_more_than_may_be_said():
    capped, free = (
        cost.candidates_cost(plan_of("triangle", x), 1)
        for x in ("config.generated_tokens=6000", "config.generated_tokens=0")
    )
    assert capped.said == 6000 < free.said
    assert capped.read / free.read == pytest.approx(6000 / free.said)


def test_controls_take_mains_first_candidates():
    both = plan_of("text", "config.controls=('permuted', 'replay_only')")
    assert [x.times for x in cost.costs(both)] == [3, 6, 7]
    idle = plan_of("text", "config.controls=('replay_only',)")
    assert cost.costs(idle)[0].times == 2


def test_descriptions_that_are_measured_take_their_rows():
    few, many = (
        budget.measure_rows(plan_of("text", f"config.eval.rows={rows}"))
        for rows in (1, 4096)
    )
    assert budget.total(many) > budget.total(few)
    assert any("descriptions: 4096 x" in row.name for row in many)


def test_words_that_are_unknown_are_said_before_anything_is_counted():
    with pytest.raises(ValueError, match="config.game.filter='veiws'"):
        plan_of("text", "config.game.filter=veiws")


def test_the_base_is_told_with_its_phases_and_tokens():
    c = command_line.load_config("base")
    text = train.tell(c)
    assert "1.38 million params from scratch" in text
    one = c.answer_rows * c.answer_length
    all_ = one + (c.probe_rows + c.game_rows) * c.game_length
    tokens = c.see_steps * one + c.play_steps * all_
    assert f"{tokens / 1e6:,.1f} million tokens" in text


def test_an_export_is_told_with_what_it_reads(tmp_path):
    folder = tmp_path / "arms/main/iter_002"
    (folder / "checkpoint").mkdir(parents=True)
    with open(folder / "checkpoint/data", "wb") as file:
        file.truncate(2**28)
    config = {"method": "stic", "base": "", "dtype": "float32"}
    text = export.describe(folder, config, str(tmp_path), False)
    assert "256.0 MiB" in text and "which exists" in text
    assert "stic run from the shipped base" in text
    with pytest.raises(FileNotFoundError, match="there is none.*let the run"):
        export.find_iteration(tmp_path / "other", "main", None)


@pytest.mark.slow
def test_a_comparison_is_told_entry_by_entry():
    done = subprocess.run(
        [
            *(sys.executable, "-m", "vlm_games.compare"),
            *("--config=compare", "--dry_run", "--set=config.iterations=1"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    entries = re.findall(r"^==== (\w+), 3 times", done.stdout, re.M)
    assert set(METHODS) < set(entries)
    assert done.stdout.count("FITS") == len(entries)
    assert "1 rounds of main" in done.stdout
