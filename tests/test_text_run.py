"""Training on text alone, as the program does it, on the shipped base."""

import json
import runpy

import jax
import numpy as np
import pytest
from program import ROOT, finish, finish_after_kills, outcome

from vlm_games.data.workdir import Workdir
from vlm_games.fine_tune import Course, fine_tune
from vlm_games.games.choice import shuffle_options
from vlm_games.methods.text import TextOnly
from vlm_games.methods.text_records import SituationRecord
from vlm_games.trainer import Trainer
from vlm_games.workbench import Run, build

pytestmark = pytest.mark.slow

SETTINGS = (
    "method=text",
    "controls=()",
    "iterations=2",
    "text.records=48",
    "text.shard=24",
    "text.learn.steps=6",
    "text.learn.rows.text=4",
    "eval.guard_games=0",
)


def records(count: int, seed: int = 0) -> list[SituationRecord]:
    """Records such as a base that was taught to write them would give."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        color, shape = rng.choice(4, 2).tolist()
        words = ("red", "blue", "green", "yellow")
        name = ("circle", "ring", "square", "cross")[shape]
        place = ("top-left", "top-right", "bottom-left")[number % 3]
        options, answer = shuffle_options(rng, words, color)
        found.append(
            SituationRecord(
                number=number,
                iteration=1,
                seed=0,
                written="",
                situation=f"a large {words[color]} {name} at the {place} .",
                question=f"what color is the {name} ?",
                options=options,
                answer=answer,
                rationale=f"a large {words[color]} {name}",
                checks=(answer,) * 3,
                kept=True,
                reason=None,
                tokens=40,
                true=True,
            )
        )
    return found


def prepare(workdir) -> None:
    """Leaves one shard of records as if the base had written them."""
    Workdir(workdir).write_shard("main", 1, 0, records(24))


# Training ---------------------------------------------------------------------


@pytest.mark.parametrize("rank", [0, 4], ids=["all", "adapters"])
def test_text_leaves_the_tower_and_the_connector_bit_for_bit(tmp_path, rank):
    c = runpy.run_path(str(ROOT / "configs/scenes.py"))["get_config"]()
    c.method, c.controls = "text", ()
    c.play_images = c.eval.target_images = c.eval.source_images = 8
    c.eval.games = 4
    c.text.learn.steps, c.text.learn.rows.text = 3, 4
    c.train.lora.rank = rank
    c.train.base_share = 0.0 if rank else 0.25
    c.train.lora.parts = ("decoder", "connector", "vision")
    setup = build(c)
    run = Run(c, setup, Workdir(tmp_path), lambda *progress: None)
    selection = TextOnly(setup.bench).select(records(12), "main", 1, None)
    before = jax.device_get(setup.base_params)
    course = Course("main", 1, "training")
    after = jax.device_get(
        fine_tune(
            run, Trainer(run), course, setup.base_params, selection.stages
        )
    )
    for part in ("vision", "connector"):
        jax.tree.map(np.testing.assert_array_equal, before[part], after[part])
    moved = jax.tree.map(
        lambda x, y: not np.array_equal(x, y),
        before["decoder"],
        after["decoder"],
    )
    assert any(jax.tree.leaves(moved))
    path = tmp_path / "arms/main/iter_001/training/learn/figures.json"
    figures = json.loads(path.read_text())
    assert np.isfinite(figures["loss"]) and figures["trained_tokens"] > 300


# The whole program ------------------------------------------------------------


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, cache):
    """The first round learns from the records above, and the second one from
    what the model then writes itself: nothing that could be read."""
    workdir = tmp_path_factory.mktemp("undisturbed")
    prepare(workdir)
    return workdir, finish(workdir, cache, *SETTINGS)


def test_a_run_tells_what_it_wrote_kept_and_learned(undisturbed):
    workdir, _ = undisturbed
    main = outcome(workdir)["arms/main/iter_001/metrics.json"]
    assert main["games_played"] == 48 and 8 < main["games_kept"] <= 24
    assert main["readable"] == main["checked"] == 24
    assert main["budget"]["text"] == main["games_kept"]
    assert main["trained_tokens"] > 0
    assert main["filters"]["checks"]["of"] == 48
    page = (workdir / "report.html").read_text()
    assert "text on" in page and "Situation 0" in page


def test_a_model_that_writes_nothing_readable_is_told_and_left(undisturbed):
    workdir, output = undisturbed
    assert "nothing to learn from: of 48 records none was kept" in output
    one, two = (
        outcome(workdir)[f"arms/main/iter_00{i}/metrics.json"] for i in (1, 2)
    )
    assert two["games_kept"] == two["trained_tokens"] == 0
    assert two["vqa_kinds"] == one["vqa_kinds"]


def test_a_killed_run_resumes_to_the_same_metrics(tmp_path, cache, undisturbed):
    prepare(tmp_path)
    sign = "arms/main/iter_001/training/learn/step_4"
    finish_after_kills(tmp_path, cache, (sign,), *SETTINGS)
    assert outcome(tmp_path) == outcome(undisturbed[0])
