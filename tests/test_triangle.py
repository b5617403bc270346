"""Pairs that survive: what is hidden, made, kept and learned."""

import collections
import dataclasses
import types

import ml_collections
import numpy as np
import pytest

from vlm_games import choices
from vlm_games.data.examples import IMAGE
from vlm_games.data.images import RenderedSource
from vlm_games.data.packing import encode
from vlm_games.data.schema import RecordError
from vlm_games.data.tokenizer import word_tokenizer
from vlm_games.games import answer as answering
from vlm_games.games.instructions import (
    Instructions,
    chat_instructions,
    read_back,
)
from vlm_games.games.prompts import Prompts, prompt_words
from vlm_games.methods import retell, triangle
from vlm_games.methods.drawing import draw_images
from vlm_games.methods.shares import (
    by_decile,
    highest,
    lowest,
    share_of_types,
)
from vlm_games.methods.triangle import Triangle
from vlm_games.methods.triangle_choose import ARMS, check_settings
from vlm_games.methods.triangle_examples import (
    HIDDEN,
    hide,
    seed_items,
    share_out,
    tuning_examples,
)
from vlm_games.methods.triangle_record import NOT_READ, PairRecord
from vlm_games.workbench import stratum
from vlm_games.worlds import questions as world

PROMPTS, INSTRUCTIONS = Prompts(), Instructions()
ITEM = (7, "is there a ring ?", "no")
CONTROLS = [arm for arm in ARMS if arm != "main"]


def settings(**fields) -> ml_collections.ConfigDict:
    """config.triangle, small."""
    c = ml_collections.ConfigDict()
    c.images, c.shard, c.rows, c.seeds = 6, 4, 4, 40
    c.question_tokens, c.answer_tokens, c.temperature = 12, 4, 1.0
    c.keep, c.types, c.similarity = 0.2, "stratum", "overlap"
    c.balance = False
    c.embedder, c.long_answer, c.fixed = "", 20, ()
    c.hidden = (0.5, 0.2, 0.3)
    c.tune = ml_collections.ConfigDict({"steps": 2, "rows": {"seed": 4}})
    c.learn = ml_collections.ConfigDict(
        {"steps": 3, "rows": {"pair": 24, "seed": 8}}
    )
    c.update(fields)
    return c


def make(**fields) -> Triangle:
    """The method on a bench without a model."""
    config = ml_collections.ConfigDict(
        {"seed": 3, "image_workers": 0, "recipe": {"agree": 0.35}}
    )
    config.triangle = settings(**fields)
    bench = types.SimpleNamespace(
        config=config,
        model=types.SimpleNamespace(
            vision=types.SimpleNamespace(image_size=16)
        ),
        prompts=PROMPTS,
        instructions=INSTRUCTIONS,
        stratum=stratum,
        tokenizer=word_tokenizer(
            [*prompt_words(PROMPTS, 4), *world.VOCABULARY]
        ),
        images=RenderedSource("target/validation", 10, 16),
        engine=types.SimpleNamespace(encode=lambda params, pixels: pixels),
        truth=lambda image, question, answer: answer == "yes",
    )
    return Triangle(bench)


def record(number, kind="color", score=0.5, true=None, image=None):
    questions = [q.text for q in world.QUESTIONS if q.kind == kind]
    return PairRecord(
        number=number,
        iteration=1,
        seed=0,
        image=number if image is None else image,
        name=str(number),
        said="",
        question=questions[number % len(questions)],
        answer=("yes", "no")[number % 2],
        kind=kind,
        form="true_false",
        question_again="",
        answer_again="",
        similarity_question=None,
        similarity_answer=score,
        score=score,
        tokens=9,
        true=true,
    )


def unread(number):
    fields = dataclasses.asdict(record(number)) | NOT_READ
    return PairRecord(**fields)


@pytest.fixture(scope="module")
def records():
    """400 pairs of two kinds, one of which scores lower; 20 unread."""
    rng = np.random.default_rng(0)
    found = [
        record(i, kind, float(rng.random()) * scale, bool(rng.random() < 0.5))
        for i, (kind, scale) in enumerate(
            [("color", 1.0), ("shape", 0.1)] * 150 + [("color", 1.0)] * 80
        )
    ]
    return found + [unread(i) for i in range(380, 400)]


def pairs_of(selection) -> list[tuple]:
    """(image, question, answer) of the pairs that are learned."""
    (stage,) = selection.stages
    return [
        (e.images[0], e.branches[0][0].text, e.branches[0][1].text)
        for e in stage.examples(None)["pair"]
    ]


def learned(example) -> str:
    """The words with loss, in their order."""
    pieces = [*example.trunk, *[p for b in example.branches for p in b]]
    return " ".join(p.text for p in pieces if p.weight)


# Tuning -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "read", "told"),
    [
        ("pair", "<image> ask", "is there a ring ? answer : no <eos>"),
        ("question", "<image> answer : no ask", "is there a ring ? <eos>"),
        ("answer", "<image> question : is there a ring ? answer :", "no <eos>"),
    ],
)
def test_what_is_hidden_is_learned_and_nothing_else(task, read, told):
    rng = np.random.default_rng(0)
    example = hide(task, ITEM, INSTRUCTIONS, PROMPTS, rng)
    pieces = [*example.trunk, *[p for b in example.branches for p in b]]
    given = " ".join(p.text for p in pieces if not p.weight)
    assert " ".join(given.split()) == read
    assert learned(example) == told
    assert example.images == (7,)


@pytest.mark.parametrize("task", HIDDEN)
@pytest.mark.parametrize("instructions", [INSTRUCTIONS, chat_instructions()])
def test_every_task_can_be_packed(task, instructions):
    tokenizer = word_tokenizer([*prompt_words(PROMPTS, 4), *world.VOCABULARY])
    example = hide(task, ITEM, instructions, PROMPTS, np.random.default_rng(0))
    found = encode(example, tokenizer, 4)
    assert (found.weights > 0).sum() == len(learned(example).split())


@pytest.mark.parametrize("instructions", [INSTRUCTIONS, chat_instructions()])
def test_a_pair_is_read_back_as_it_is_taught(instructions):
    example = hide(
        "pair", ITEM, instructions, PROMPTS, np.random.default_rng(0)
    )
    told = learned(example).removesuffix(" <eos>")
    fields = read_back(instructions.pair_said, told)
    assert (fields["question"], fields["answer"]) == ITEM[1:]


@pytest.mark.parametrize("shares", [(0.5, 0.2, 0.3), (1, 0, 0), (0, 0.5, 0.5)])
def test_the_shares_of_the_tasks_are_as_asked(shares):
    rng = np.random.default_rng(0)
    counts = collections.Counter(share_out(1000, shares, rng))
    assert [counts[task] / 1000 for task in HIDDEN] == list(shares)
    assert len(share_out(7, shares, rng)) == 7


def test_an_instruction_is_drawn_of_the_pool_for_each_task():
    pool = dataclasses.replace(INSTRUCTIONS, pair=("ask", "question", "answer"))
    found = tuning_examples(
        [ITEM] * 60, (1, 0, 0), pool, PROMPTS, np.random.default_rng(0)
    )
    asked = collections.Counter(e.trunk[0].text.split()[-1] for e in found)
    assert set(asked) == set(pool.pair) and min(asked.values()) > 8


def test_labels_are_as_annotators_gave_them():
    source = RenderedSource("source/replay", 400, 16)
    honest, agreeing = (seed_items(source, (0,), x) for x in (0.0, 0.35))
    assert [i[:2] for i in honest] == [i[:2] for i in agreeing]
    scenes = source.scenes
    for image, question, answer in honest:
        right = world.answers(world.BY_TEXT[question], scenes[image])
        assert answer in right
    changed = [
        (a[2], b[2]) for a, b in zip(honest, agreeing, strict=True) if a != b
    ]
    denied = sum(i[2] == "no" for i in honest)
    assert set(changed) == {("no", "yes")}
    assert 0.2 < len(changed) / denied < 0.5


def test_a_warm_up_is_the_same_when_made_again_and_new_next_time():
    def examples(iteration):
        (stage,) = make().warm_up("main", iteration)
        assert stage.name == "tune" and stage.settings["steps"] == 2
        return stage.examples(None)["seed"]

    assert examples(1) == examples(1) != examples(2)
    assert len(examples(1)) == 40


# Candidates -------------------------------------------------------------------


def test_images_come_again_only_when_all_have_come():
    found = [draw_images(10, 4, (0, 94), i) for i in range(1, 6)]
    together = sum(found, ())
    assert sorted(together[:10]) == sorted(together[10:]) == list(range(10))
    assert found[0] != draw_images(10, 4, (1, 94), 1)
    assert len(draw_images(3, 8, (0, 94), 1)) == 8


def say(text, ended=True):
    return answering.Answer(text, ended, -1.0, len(text.split()) + 1)


@pytest.fixture
def calls(monkeypatch):
    """What is asked of a model that answers by rule; a list of the calls."""
    asked = []

    def reply(prompt):
        if prompt.text == f"{IMAGE} ask":
            said = ["is there a ring ? answer : yes", "nothing to read"]
            return say(said[prompt.draw[0] > 0])
        if prompt.text.endswith("ask"):
            return say("is there a circle ?")
        return say("yes")

    def fake(engine, tokenizer, role, prompts, limit, *rest, **more):
        asked.append((prompts, limit))
        return [reply(prompt) for prompt in prompts]

    for module in (triangle, retell):
        monkeypatch.setattr(module, "answer", fake)
    return asked


def test_both_reconstructions_are_one_pass_of_readable_pairs(calls):
    method = make()
    drawn = method.prepare(None, 1)
    found = method.candidates(None, drawn, 1, 0)
    assert len(found) == 4 and len(calls) == 2
    (pairs, limit), (again, _) = calls
    assert [p.draw for p in pairs] == [(i, 0) for i in range(4)]
    assert limit == 12 + 4 + 2 + 1
    assert [(p.image, p.text) for p in again] == [
        (0, f"{IMAGE} answer : yes ask"),
        (0, f"{IMAGE} question : is there a ring ? answer :"),
    ]
    first, *others = found
    assert first.image == drawn[0] and first.number == 0
    assert first.question_again == "is there a circle ?"
    assert first.similarity_question is None  # yes and no: the answer alone
    assert first.score == 1.0 and first.kind == "shape" and first.true
    assert first.tokens == 9 + 6 + 2 == method.tokens_said(first)
    for other in others:
        assert other.score is None and other.question is None
        assert other.said == "nothing to read" and other.tokens == 4


def test_records_survive_the_disk_and_half_a_pair_is_refused(calls):
    method = make()
    for found in method.candidates(None, method.prepare(None, 1), 1, 1):
        assert PairRecord.from_json(found.to_json()) == found
    with pytest.raises(RecordError, match="score: null, though"):
        dataclasses.replace(record(0), score=None).to_json()


def test_the_last_shard_has_what_is_left(calls):
    method = make()
    drawn = method.prepare(None, 1)
    found = [method.candidates(None, drawn, 1, s) for s in range(2)]
    assert method.shards() == 2 and [len(x) for x in found] == [4, 2]
    assert [r.number for x in found for r in x] == list(range(6))


@pytest.mark.parametrize(
    ("words", "pair"),
    [
        (say("is it ? answer : red"), ("is it ?", "red")),
        (say("is it ? answer : red", ended=False), None),
        (say("is it ? red"), None),
        (say(f"is it {IMAGE} ? answer : red"), None),
        (say("answer : red"), None),
    ],
)
def test_only_whole_pairs_are_read(words, pair):
    assert make()._read(words) == pair


def test_the_type_is_the_kind_of_question_or_the_form():
    pair = ("is there a ring ?", "no")
    assert make()._kind(pair, "true_false") == "shape"
    assert make(types="form")._kind(pair, "true_false") == "true_false"


def test_fixed_words_are_not_compared(calls):
    method = make(fixed=("is there a",))
    with_ring = method.reteller._plain("is there a ring ?")
    assert with_ring.split() == ["ring", "?"]


# Choosing ---------------------------------------------------------------------


@pytest.mark.parametrize("keep", [0.05, 0.2, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("rank", [highest, lowest])
def test_the_share_is_kept_of_every_type(records, keep, rank):
    readable = [r for r in records if r.score is not None]
    kept = share_of_types(readable, keep, False, rank)
    for kind, count in (("color", 230), ("shape", 150)):
        same = [r for r in readable if r.kind == kind]
        chosen = {r.number for r in kept if r.kind == kind}
        assert len(chosen) == int(keep * count + 0.5)
        first = sorted(same, key=rank)[: len(chosen)]
        assert chosen == {r.number for r in first}
        scores = [r.score for r in first]
        assert scores == sorted(scores, reverse=rank is highest)


def test_of_equal_scores_the_lower_numbers_are_kept():
    same = [record(i, score=1.0) for i in range(10)]
    for rank in (highest, lowest):
        kept = share_of_types(same[::-1], 0.3, False, rank)
        assert [r.number for r in kept] == [0, 1, 2]


@pytest.mark.parametrize("keep", [0.05, 0.2, 0.5, 1.0])
def test_in_balance_no_answer_outnumbers_the_runner_up(keep):
    # 60 times yes, which score higher, and 20 times no.
    answers = ["yes"] * 60 + ["no"] * 20
    found = [
        dataclasses.replace(record(i, score=1 - i / 100), answer=answer)
        for i, answer in enumerate(answers)
    ]
    for rank in (highest, lowest):
        kept = share_of_types(found, keep, True, rank)
        counts = collections.Counter(r.answer for r in kept)
        assert counts == {"yes": 20 * keep, "no": 20 * keep}
    assert share_of_types(found[:60], keep, True, highest) == []  # no rival


def select(records, arm, budget=None, **fields):
    return make(**fields).select(records, arm, 1, budget)


def test_top_and_bottom_do_not_meet_and_are_as_large(records):
    main = select(records, "main")
    bottom = select(records, "bottom", main.budget)
    assert main.kept == bottom.kept == 46 + 30
    assert not set(pairs_of(main)) & set(pairs_of(bottom))
    assert bottom.budget == main.budget


def test_all_pairs_are_any_that_could_be_read(records):
    main = select(records, "main")
    found = select(records, "all_pairs", main.budget)
    assert found.budget == main.budget
    images = {image for image, _, _ in pairs_of(found)}
    assert images < set(range(380))  # the last are unread
    kept = {image for image, _, _ in pairs_of(main)}
    assert 0 < len(images & kept) < len(images) / 2


def test_shuffled_learns_mains_questions_with_answers_mixed_up(records):
    main = select(records, "main")
    found = select(records, "shuffled", main.budget)
    assert [p[:2] for p in pairs_of(found)] == [p[:2] for p in pairs_of(main)]
    before, after = ([p[2] for p in pairs_of(s)] for s in (main, found))
    assert before != after and sorted(before) == sorted(after)


def test_arms_without_pairs_have_equally_many_steps_and_rows(records):
    main = select(records, "main")
    (stage,) = main.stages
    seeds = select(records, "seeds_only", main.budget)
    assert seeds.kept == 0 and seeds.budget["seed"] == 40
    rows = seeds.stages[0].settings["rows"]
    assert rows["seed"] == sum(stage.settings["rows"].values())
    replay = select([], "replay_only", main.budget)
    assert replay.budget == {"kept": 0, "pair": 0, "seed": 0}
    for arm in CONTROLS:
        (other,) = select(records, arm, main.budget).stages
        assert other.settings["steps"] == stage.settings["steps"] == 3


def test_the_model_learns_answers_of_items_and_of_pairs(records):
    (stage,) = select(records, "main").stages
    assert stage.name == "learn" and stage.objective == "likelihood"
    found = stage.examples(None)
    assert set(found) == {"pair", "seed"}
    for example in (*found["pair"], *found["seed"]):
        (branch,) = example.branches
        assert learned(example).split() == [branch[1].text, "<eos>"]


def test_pairs_and_items_have_images_of_their_own(records):
    method = make()
    (stage,) = method.select(records, "main", 1, None).stages
    unlabelled = method.bench.images
    assert stage.images_of("seed", unlabelled) is method.source
    assert stage.images_of("pair", unlabelled) is unlabelled


@pytest.mark.parametrize("arm", ARMS)
def test_a_choice_is_the_same_when_made_again(records, arm):
    budget = None if arm == "main" else select(records, "main").budget
    first, again = (select(records, arm, budget) for _ in range(2))
    assert pairs_of(first) == pairs_of(again)


# Figures ----------------------------------------------------------------------


def test_figures_tell_what_scores_are_worth():
    found = [record(i, score=i / 100, true=i >= 60) for i in range(100)]
    figures = select([*found, unread(100)], "main").figures
    told = figures["filters"]["triangle"]
    assert (told["kept"], told["of"]) == (20, 101)
    assert told["truth_kept"] == 100.0 and told["truth_dropped"] == 25.0
    assert told["lift"] == pytest.approx(75.0)
    assert figures["pairs"]["readable"] == 100
    assert figures["pairs"]["kept_by_type"] == {"color": 20}
    assert figures["pairs"]["mean_score"] == pytest.approx(0.495)
    true = [tenth["true"] for tenth in figures["pairs"]["by_decile"]]
    assert true == [0.0] * 6 + [100.0] * 4


def test_the_page_shows_kept_pairs_first_and_why_others_are_not():
    found = [record(i, score=i / 10, true=True) for i in range(10)]
    shown = make().show([*found[:9], unread(9)], 1, 2)
    assert [x.name for x in shown] == ["Pair 7", "Pair 8", "Pair 0", "Pair 1"]
    assert [x.kept for x in shown] == [True, True, False, False]
    assert shown[0].note == "score 0.70 among color"
    assert ("answer", "no", True) in shown[0].lines
    (last,) = make().show([unread(9)], 1, 2)
    assert last.note == "it could not be read" and not last.kept


def test_nothing_to_read_is_no_fault():
    figures = select([unread(0)], "main").figures
    assert figures["filters"]["triangle"]["kept"] == 0
    assert figures["pairs"]["mean_score"] is None
    assert by_decile([record(0)]) == [{"score": 0.5, "true": None, "pairs": 1}]
    assert select([], "main").kept == 0


# Settings ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"keep": 0.0}, "keep=0.0"),
        ({"keep": 1.2}, "keep=1.2"),
        ({"hidden": (0.5, 0.5)}, "three shares"),
        ({"hidden": (0.5, 0.2, 0.2)}, "add up to 1"),
    ],
)
def test_settings_without_sense_are_told(fields, told):
    with pytest.raises(ValueError, match=told):
        check_settings(settings(**fields))
    check_settings(settings())


def test_every_similarity_and_type_that_is_known_can_be_chosen():
    assert choices.CHOICES["triangle.similarity"] == ("overlap", "sentences")
    assert choices.CHOICES["triangle.types"] == ("stratum", "form")
