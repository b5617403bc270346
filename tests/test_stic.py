"""STIC: who is asked what of which image, and what each arm learns of it."""

import dataclasses
import json
import pathlib
import runpy

import numpy as np
import pytest
from program import finish, finish_after_kills, outcome

from vlm_games.data.examples import Example, read, said
from vlm_games.data.packing import encode
from vlm_games.data.schema import RecordError
from vlm_games.methods import corrupt, infuse, prefer, stic
from vlm_games.methods.descriptions import Description, DescriptionRecord
from vlm_games.workbench import build

pytestmark = pytest.mark.usefixtures("quick_compiles")

SCENES = pathlib.Path(__file__).parents[1] / "configs" / "scenes.py"
SMALL = {
    "method": "stic",
    "controls": prefer.ARMS[1:],
    "play_images": 40,
    "encode_images": 16,
    "stic.images": 24,
    "stic.shard": 8,
    "stic.rows": 2,
    "stic.infused": 8,
    "train.replay_images": 12,
    "eval.target_images": 8,
    "eval.source_images": 8,
}
SEED = (0, 1)


@pytest.fixture(scope="module")
def setup():
    """A run's parts on the shipped base."""
    config = runpy.run_path(str(SCENES))["get_config"]()
    config.update_from_flattened_dict(SMALL)
    return build(config)


@pytest.fixture(scope="module")
def method(setup):
    return stic.Stic(setup.bench)


@pytest.fixture(scope="module")
def make(setup, method):
    """Makes a shard of an iteration, with nothing remembered."""

    def shard(number: int, iteration: int = 1):
        params = setup.base_params
        prepared = method.prepare(params, iteration)
        return method.candidates(params, prepared, iteration, number)

    return shard


@pytest.fixture(scope="module")
def made(make):
    """All records of the first iteration."""
    return [r for shard in range(3) for r in make(shard)]


def description(text, ended=True, truths=(1, 2)):
    return Description(text, ended, -1.5, len(text.split()) + 1, truths)


def record(number, chosen="a red ring .", rejected="a blue ring .", ended=True):
    good, bad = description(chosen), description(rejected, ended, (0, 2))
    return DescriptionRecord(
        number=number,
        iteration=1,
        seed=0,
        image=number,
        name=str(number),
        instruction="describe :",
        chosen=good,
        rejected=bad,
        source="blurred",
        plain=description("a red ring ."),
        kept=ended and chosen != rejected,
    )


RECORDS = [record(i, ended=i % 3 > 0) for i in range(30)]


def learned(example, tokenizer, branch):
    """(words only read, words learned) of one branch."""
    found = encode(example, tokenizer, 4)
    here = found.branches == branch
    return tuple(
        tokenizer.hf.decode(
            found.tokens[here & ((found.weights > 0) == wanted)]
        )
        for wanted in (False, True)
    )


# Candidates -------------------------------------------------------------------


def test_a_shard_is_the_same_made_again_and_made_alone(made, make):
    assert make(2) == made[16:]


def test_records_come_back_from_disk_as_they_were(made):
    for found in made:
        assert DescriptionRecord.from_json(found.to_json()) == found


def test_a_record_with_an_unknown_source_is_refused():
    line = json.loads(record(1).to_json()) | {"source": "dreamt"}
    with pytest.raises(RecordError, match="source: expected 'invented' or"):
        DescriptionRecord.from_json(json.dumps(line))
    line = json.loads(record(1).to_json())
    del line["chosen"]["text"]
    with pytest.raises(RecordError, match="field chosen, field text: missing"):
        DescriptionRecord.from_json(json.dumps(line))


def test_no_image_comes_again_before_all_were_there(method):
    drawn = [method.prepare(None, iteration) for iteration in (1, 2, 3, 4, 5)]
    assert all(len(set(images)) == 24 for images in drawn[:1])
    in_order = sum(drawn, ())
    for epoch in range(3):
        assert len(set(in_order[40 * epoch : 40 * epoch + 40])) == 40


def test_every_source_leads_astray_and_so_often_as_asked(setup):
    found = [stic.draw(setup.bench, i, 0, 1).source for i in range(400)]
    shares = {name: found.count(name) / 400 for name in set(found)}
    assert shares["invented"] == pytest.approx(0.5, abs=0.1)
    assert shares["blurred"] == pytest.approx(0.25, abs=0.08)
    assert shares["recoloured"] == pytest.approx(0.25, abs=0.08)


def test_corrupted_images_differ_and_inventions_see_clean_ones(setup):
    draws = [stic.draw(setup.bench, i, i, 1) for i in range(24)]
    pixels = np.stack([setup.bench.images[i] for i in range(24)])
    seen = corrupt.corrupt(pixels, draws, 8)
    assert seen.dtype == np.uint8 and seen.shape == pixels.shape
    for clean, spoilt, drawn in zip(pixels, seen, draws, strict=True):
        changed = np.abs(clean.astype(int) - spoilt).mean()
        assert (changed > 1) == (drawn.source != "invented")


def test_a_blurred_image_keeps_its_means_and_loses_its_detail(setup):
    pixels = np.stack([setup.bench.images[i] for i in range(4)])
    blurred = np.asarray(corrupt.blur(pixels, 8), float)
    np.testing.assert_allclose(
        blurred.mean((1, 2)), pixels.mean((1, 2)), atol=3
    )
    detail = [
        np.abs(np.diff(x, axis=1)).mean() for x in (blurred, pixels * 1.0)
    ]
    assert detail[0] < 0.8 * detail[1]


def test_an_image_recoloured_by_nothing_stays_and_by_a_third_turns_red_green():
    red = np.tile(np.array([120, 0, 0], np.uint8), (2, 4, 4, 1))
    found = np.asarray(
        corrupt.recolour(red, np.array([1.0, 2.0]), np.array([0.0, 1 / 3]))
    )
    np.testing.assert_array_equal(found[0], red[0])
    np.testing.assert_array_equal(found[1, 0, 0], [0, 240, 0])


def test_words_of_the_careful_instruction_are_said_of_the_clean_image(
    made, method, setup, monkeypatch
):
    monkeypatch.setattr(
        corrupt, "corrupt", lambda pixels, draws, side: np.zeros_like(pixels)
    )
    params = setup.base_params
    again = method.candidates(params, method.prepare(params, 1), 1, 0)
    for found, dark in zip(made[:8], again, strict=True):
        assert found.chosen == dark.chosen and found.plain == dark.plain
        same = found.rejected == dark.rejected
        assert same == (found.source == "invented")


def test_what_is_unfinished_empty_or_the_same_is_not_kept(made):
    kept = [r for r in made if r.kept]
    assert kept and len(kept) < len(made)
    for r in made:
        sound = r.chosen.ended and r.rejected.ended
        sound &= bool(r.chosen.text) and bool(r.rejected.text)
        assert r.kept == (sound and r.chosen.text != r.rejected.text)


def test_a_low_side_that_blurs_nothing_is_refused(setup):
    config = setup.bench.config.copy_and_resolve_references()
    config.stic.low_side = 32
    bench = dataclasses.replace(setup.bench, config=config)
    with pytest.raises(ValueError, match="config.stic.low_side=32"):
        stic.Stic(bench)


# Arms -------------------------------------------------------------------------


def select(method, arm, budget=None):
    return method.select(RECORDS, arm, 1, budget)


def test_controls_take_as_many_pairs_as_main(method):
    main = select(method, "main")
    assert main.kept == 20 and main.budget == {"kept": 20}
    for arm in ("positive", "uncorrupted", "swapped"):
        found = select(method, arm, {"kept": 12})
        assert found.kept == 12 and len(found.stages) == 2
        (examples,) = found.stages[0].examples(None).values()
        assert len(examples) == 12
    assert select(method, "replay_only", {"kept": 12}).kept == 0


def test_main_prefers_words_of_the_clean_image_and_reads_the_rest(
    method, setup
):
    (first, second) = select(method, "main").stages
    assert (first.objective, second.objective) == ("preference", "likelihood")
    assert not first.replay and first.images is None
    examples = first.examples(None)["description"]
    assert [e.images for e in examples] == [
        (r.image,) for r in RECORDS if r.kept
    ]
    tokenizer = setup.bench.tokenizer
    for example in examples:
        read, said = learned(example, tokenizer, 1)
        assert (read, said) == ("describe :", "a red ring . <eos>")
        read, said = learned(example, tokenizer, 2)
        assert (read, said) == ("describe :", "a blue ring . <eos>")


def test_swapped_prefers_what_main_rejects(method):
    (ours,), (theirs,) = (
        select(method, arm).stages[0].examples(None).values()
        for arm in ("main", "swapped")
    )
    for one, other in zip(ours, theirs, strict=True):
        assert one.branches == other.branches[::-1]


def test_positive_learns_the_chosen_words_by_likelihood(method, setup):
    stage = select(method, "positive").stages[0]
    assert stage.objective == "likelihood"
    (examples,) = stage.examples(None).values()
    for example in examples:
        assert len(example.branches) == 1
        said = learned(example, setup.bench.tokenizer, 1)[1]
        assert said == "a red ring . <eos>"


def test_uncorrupted_rejects_a_plain_description(method):
    found = select(method, "uncorrupted", {"kept": 30})
    # Pairs that are word for word the same stay: they teach nothing.
    assert found.kept == 30 and found.figures["pairs"] == {"plain": 100.0}
    bare = [dataclasses.replace(r, plain=None) for r in RECORDS]
    with pytest.raises(ValueError, match="config.controls"):
        method.select(bare, "uncorrupted", 1, {"kept": 30})


def test_replay_only_trains_as_long_as_the_last_stage_of_main(method):
    (stage,) = select(method, "replay_only").stages
    main = select(method, "main").stages[-1]
    assert stage.settings == main.settings and stage.replay
    assert stage.examples(None) == {}


def test_without_a_pair_only_the_second_stage_is_left(method):
    found = method.select([record(0, ended=False)], "main", 1, None)
    assert [stage.name for stage in found.stages] == ["infuse"]


def test_the_truth_of_both_sides_is_told(method):
    found = select(method, "main").figures
    assert (found["chosen_truth"], found["rejected_truth"]) == (50.0, 0.0)
    assert found["pairs"] == {"blurred": 100.0}
    unknown = dataclasses.replace(RECORDS[1].chosen, truths=None)
    assert prefer.truth([unknown]) is None


# The second stage -------------------------------------------------------------


def test_items_hold_the_own_description_and_the_given_answer(method, setup):
    bench, params = setup.bench, setup.base_params
    stage = select(method, "main").stages[-1]
    (examples,) = stage.examples(params).values()
    assert stage.images is method.source and 0 < len(examples) <= 8
    asked = ["describe :"] * len(examples)
    ids = [e.images[0] for e in examples]
    own = infuse.describe(
        bench, method.source, params, ids, asked, method.config
    )
    for example, text in zip(examples, own, strict=True):
        trunk = "".join(piece.text for piece in example.trunk)
        assert trunk == f"<image> describe : {text}"
        assert len(example.branches) == 3
    again = stage.examples(params)["infused"]
    assert again == examples


def test_what_the_second_stage_says_is_counted(method, setup):
    bench, c = setup.bench, method.config
    stage = select(method, "main").stages[-1]
    rows = [infuse.put_first(r, "a ring .", bench) for r in labelled(3)]
    words = len(bench.tokenizer.encode("a ring ."))
    # One of four came to no end: it said all that it may.
    whole = 3 * (words + 1) + c.tokens
    assert infuse.tokens_said(bench, rows, 4, c.tokens) == whole
    asked = min(c.infused, len(method.source))
    found = infuse.tokens_said(bench, rows, asked, c.tokens)
    assert stage.said({"infused": rows}) == found and not stage.said({})


def test_an_item_without_a_finished_description_is_left_out(
    method, setup, monkeypatch
):
    monkeypatch.setattr(infuse, "describe", lambda *args: ["a ring .", ""] * 4)
    rows = []
    monkeypatch.setattr(infuse, "answer_row", spy(infuse.answer_row, rows))
    found = infuse.infused_examples(
        setup.bench, method.source, None, method.config, SEED
    )
    assert [e.images for e in found] == [row.images for row in rows[::2]]
    for example, row in zip(found, rows[::2], strict=True):
        asked = [[p.text for p in branch] for branch in row.branches]
        assert [[p.text for p in b] for b in example.branches] == asked
        assert all(b[1].weight == 1 for b in example.branches)


def labelled(count: int):
    """Items with no description before them."""
    branches = ((read(" question : is it ?"), said(" yes"), said(" .")),)
    return [Example((i,), (read("<image>"),), branches) for i in range(count)]


def spy(function, found):
    """The function, whose results are noted."""

    def call(*args):
        found.append(function(*args))
        return found[-1]

    return call


# The whole program -----------------------------------------------------------

SETTINGS = (
    "method=stic",
    "controls=('swapped',)",
    "play_images=40",
    "stic.images=24",
    "stic.shard=8",
    "stic.rows=24",
    "stic.infused=8",
    "stic.prefer.steps=4",
    "stic.prefer.rows.description=4",
    "stic.infuse.steps=3",
    "stic.infuse.rows.infused=4",
    "train.replay_images=8",
    "train.rows.replay_answer=2",
    "train.rows.replay_game=1",
    "train.save_every=2",
    "iterations=1",
    "play.slots=8",
    "play.turns=1",
    "eval.target_images=8",
    "eval.source_images=8",
    "eval.games=8",
    "eval.guard_games=0",
)


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_metrics(tmp_path, cache):
    workdir = tmp_path / "undisturbed"
    finish(workdir, cache, *SETTINGS)
    undisturbed = outcome(workdir)
    main = undisturbed["arms/main/iter_001/metrics.json"]
    assert set(main["stages"]) == {"prefer", "infuse"}
    for name in ("reward_chosen", "reward_rejected", "margin", "accuracy"):
        assert np.isfinite(main["stages"]["prefer"][name])
    # Between the stages; within one, runs of other methods are killed.
    sign = "arms/swapped/iter_001/training/prefer/params"
    finish_after_kills(tmp_path / "killed", cache, (sign,), *SETTINGS)
    assert outcome(tmp_path / "killed") == undisturbed
