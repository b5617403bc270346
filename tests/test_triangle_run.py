"""The method as a user starts it, killed wherever it is, and resumed."""

import pytest
from program import finish, finish_after_kills, outcome

SETTINGS = (
    "method=triangle",
    "iterations=1",
    "controls=('bottom',)",
    "play_images=40",
    "play.slots=8",
    "play.turns=1",
    "train.save_every=2",
    "train.rows.replay_answer=0",
    "train.rows.replay_game=0",
    "triangle.images=32",
    "triangle.shard=16",
    "triangle.rows=16",
    "triangle.keep=0.5",
    "triangle.balance=False",
    "triangle.seeds=64",
    "triangle.tune.steps=12",
    "triangle.tune.rows.seed=16",
    "triangle.learn.steps=4",
    "triangle.learn.rows.pair=4",
    "triangle.learn.rows.seed=4",
    "eval.target_images=16",
    "eval.source_images=16",
    "eval.games=8",
    "eval.guard_games=8",
)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, cache):
    workdir = tmp_path_factory.mktemp("undisturbed")
    return workdir, finish(workdir, cache, *SETTINGS)


def test_a_run_leaves_what_it_promises(undisturbed):
    workdir, output = undisturbed
    assert "bottom" in output and (workdir / "report.html").is_file()
    found = outcome(workdir)
    main = found["arms/main/iter_001/metrics.json"]
    bottom = found["arms/bottom/iter_001/metrics.json"]
    assert main["games_played"] == 32 and main["games_kept"] > 0
    assert main["budget"] == bottom["budget"]
    assert main["filters"]["triangle"]["kept"] == main["games_kept"]
    assert main["generated_tokens"] > 0
    assert set(main["stages"]) == {"tune", "learn"}
    shards = list(workdir.glob("arms/*/iter_001/dialogs/*.jsonl"))
    assert len(shards) == 2  # of main alone: controls take its pairs


def test_a_run_killed_in_every_phase_ends_with_the_same_metrics(
    tmp_path, cache, undisturbed
):
    main = "arms/main/iter_001/"
    signs = (main + "warm_up/tune/step_6", main + "dialogs/shard_00000.jsonl")
    finish_after_kills(tmp_path, cache, signs, *SETTINGS)
    assert outcome(tmp_path) == outcome(undisturbed[0])
