"""Dialog games with parts of other methods: told again, and corrupted copies.

consistent   answers count only if they survive being told again best
corrupted    a distractor is the target itself, corrupted
"""

import collections
import dataclasses
import json
import types

import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from vlm_games.data.images import RenderedSource
from vlm_games.data.records import GameRecord, Retold
from vlm_games.data.tokenizer import word_tokenizer
from vlm_games.games.answer import Answer
from vlm_games.games.image_sets import ImageSet
from vlm_games.games.instructions import Instructions
from vlm_games.games.prompts import Prompts, prompt_words
from vlm_games.games.protocol import Exchange, PlayedGame
from vlm_games.methods import choose, retell
from vlm_games.methods.copies import put_copies, with_copies
from vlm_games.methods.dialog_games import DialogGames
from vlm_games.report import gallery
from vlm_games.sampling.scoring import Score
from vlm_games.workbench import stratum
from vlm_games.worlds import questions as world

PROMPTS = Prompts()
ASKED = ("is there a ring ?", "what color is the circle ?")
IMAGES, GAMES, SHARD = 30, 20, 8


def settings(**game) -> ml_collections.ConfigDict:
    c = ml_collections.ConfigDict({"seed": 3, "generated_tokens": 0})
    c.play = ml_collections.ConfigDict(
        {"guess": "spoken", "style": "any", "turns": 2}
    )
    c.game = ml_collections.ConfigDict(
        {
            "images": 4,
            "games": GAMES,
            "shard": SHARD,
            "sets": "random",
            "filter": "complete",
            "judges": 1,
            "judge_view": 0.0,
            "describer_view": 0.0,
            "repeats": 0,
            "reshuffles": 0,
            "credit": -1.0,
            "balance": False,
            "asks_all": 0.75,
            "consistent": 0.0,
            "corrupted": 0.0,
        }
        | game
    )
    c.stic = ml_collections.ConfigDict(
        {"low_side": 4, "brightness": 0.5, "hue": 0.3}
    )
    c.triangle = ml_collections.ConfigDict(
        {
            "similarity": "overlap",
            "long_answer": 20,
            "fixed": (),
            "rows": 4,
            "question_tokens": 12,
            "answer_tokens": 4,
        }
    )
    return c


class ToyTable:
    """Both questions are asked in every game; every fifth is aborted."""

    settings = types.SimpleNamespace(questions=(), guess="spoken")

    def play(self, guesser, describer, specs, seed):
        for spec in specs:
            bad = spec.game % 5 == 4
            turns = tuple(
                Exchange(question, answer, "", -1.0, -1.0)
                for question, answer in zip(ASKED, ("yes", "red"), strict=True)
            )
            guess, reason = (None, "no guess") if bad else (spec.target, None)
            yield PlayedGame(spec, turns, "", guess, reason)


class ToyScorer:
    """An answer fits an image by its first token; notes what it is asked."""

    def score(self, params, image_tokens, examples):
        return [
            tuple(
                Score(float(image_tokens[e.images[0], 0]) / 1e3, True)
                for _ in e.branches
            )
            for e in examples
        ]


def make_bench(**game):
    """What a method works with, without a model: a token is a mean colour."""
    return types.SimpleNamespace(
        config=settings(**game),
        model=types.SimpleNamespace(
            vision=types.SimpleNamespace(image_size=16), tokens_per_image=1
        ),
        prompts=PROMPTS,
        instructions=Instructions(),
        tokenizer=word_tokenizer(
            [*prompt_words(PROMPTS, 4), *world.VOCABULARY]
        ),
        engine=types.SimpleNamespace(
            encode=lambda params, pixels: jnp.asarray(
                pixels.mean((1, 2)), jnp.float32
            )
        ),
        scorer=ToyScorer(),
        table=ToyTable(),
        images=RenderedSource("target/validation", IMAGES, 16),
        truth=lambda image, question, answer: image % 2 == 0,
        stratum=stratum,
    )


@pytest.fixture
def told(monkeypatch):
    """A model that tells again by rule; the prompts that it was given."""
    asked = []

    def reply(prompt):
        if prompt.text.endswith("ask"):
            return "what color is it ?" if prompt.image % 2 else ASKED[1]
        # Yes survives where the image's number is even.
        if "ring" in prompt.text:
            return "no" if prompt.image % 2 else "yes"
        return "red"

    def fake(engine, tokenizer, role, prompts, limit, **more):
        asked.append((prompts, limit))
        return [Answer(reply(p), True, -1.0, 3) for p in prompts]

    monkeypatch.setattr(retell, "answer", fake)
    return asked


def played(bench, iteration=1, shards=range(3)):
    """Records of an iteration, and what it was prepared with."""
    method = DialogGames(bench)
    prepared = method.prepare(None, iteration)
    records = [
        r
        for shard in shards
        for r in method.candidates(None, prepared, iteration, shard)
    ]
    return prepared, records


# Told again -------------------------------------------------------------------


def test_every_turn_of_a_complete_game_is_told_again_in_one_pass(told):
    _, records = played(make_bench(consistent=0.5), shards=[0])
    ((prompts, limit),) = told
    complete = [r for r in records if r.outcome != "aborted"]
    assert len(prompts) == 4 * len(complete) and limit == 12
    first = complete[0]
    target = first.images[first.target]
    assert [(p.image, p.text.split(" ", 1)[1]) for p in prompts[:2]] == [
        (target, "answer : yes ask"),
        (target, f"question : {ASKED[0]} answer :"),
    ]
    for record in records:
        scored = [turn.retold is not None for turn in record.turns]
        assert scored == [record.outcome != "aborted"] * 2


def test_the_score_is_the_triangles(told):
    _, records = played(make_bench(consistent=0.5))
    for record in records:
        if record.outcome != "aborted":
            odd = record.images[record.target] % 2
            ring, color = (turn.retold for turn in record.turns)
            # Of yes and no the answer alone is compared: sqrt(F1 * 1) else.
            assert ring.score == (0.0 if odd else 1.0)
            assert color.score == pytest.approx(0.75**0.5 if odd else 1)


def test_words_told_again_are_counted(told):
    (_, plain), (_, again) = (
        played(make_bench(consistent=x)) for x in (0.0, 0.5)
    )
    method = DialogGames(make_bench())
    for one, other in zip(plain, again, strict=True):
        more = method.tokens_said(other) - method.tokens_said(one)
        assert more == (0 if one.outcome == "aborted" else 2 * (3 + 3))


def test_nothing_is_told_again_if_nobody_asks(told):
    _, records = played(make_bench())
    assert not told
    assert {t.retold for r in records for t in r.turns} == {None}


def scored_games(count=80):
    """A turn each, of two kinds; odd games score high, even ones are true."""
    _, (record, *_) = played(make_bench(), shards=[0])
    rng = np.random.default_rng(0)
    games = []
    for game in range(count):
        yes_no = game % 4 < 2
        score = 0.5 * (game % 2) + 0.4 * rng.random()
        turn = dataclasses.replace(
            record.turns[0],
            question=ASKED[0] if yes_no else ASKED[1],
            answer=("yes", "no")[game // 4 % 2] if yes_no else "red",
            retold=Retold("", "", score, 2),
            true=game % 2 == 0,
        )
        games.append(dataclasses.replace(record, game=game, turns=(turn,)))
        games[-1] = dataclasses.replace(
            games[-1], images=(game, 90, 91, 92), target=0
        )
    return games


def answered(selection) -> list[int]:
    """Images, which are games, of the answers that are learned."""
    (stage,) = selection.stages
    return [
        e.images[0]
        for e in stage.examples(None)["describer"]
        for _ in e.branches
    ]


def select(games, arm, bench, budget=None):
    seed = (0, 1)
    return choose.select(games, arm, bench.config.game, bench, seed, budget)


def test_the_most_consistent_share_of_each_kind_is_learned():
    bench, games = make_bench(consistent=0.5), scored_games()
    main = answered(select(games, "main", bench))
    assert main == list(range(1, 80, 2))  # half of each kind: the odd ones
    assert main != answered(select(games, "main", make_bench()))


def test_inconsistent_learns_as_many_of_the_others():
    bench, games = make_bench(consistent=0.5), scored_games()
    main = select(games, "main", bench)
    found = select(games, "inconsistent", bench, main.budget)
    assert found.budget == main.budget and found.kept == main.kept
    assert answered(found) == list(range(0, 80, 2))


def test_credit_comes_before_consistency():
    bench, games = make_bench(consistent=0.5, credit=0.1), scored_games()
    games = [
        dataclasses.replace(
            g, turns=(dataclasses.replace(g.turns[0], credit=g.game % 3),)
        )
        for g in games
    ]
    found = answered(select(games, "main", bench))
    assert all(game % 3 for game in found)
    assert len(found) == pytest.approx(0.5 * 53, abs=1)


def test_a_share_in_balance_has_as_many_yes_as_no():
    """Though yes scores higher."""
    bench = make_bench(consistent=0.5, balance=True)
    games = [
        dataclasses.replace(
            g,
            turns=(
                dataclasses.replace(
                    g.turns[0],
                    question=ASKED[0],
                    answer="no" if g.game % 4 == 0 else "yes",
                ),
            ),
        )
        for g in scored_games()
    ]
    found = answered(select(games, "main", bench))
    counts = collections.Counter(game % 4 == 0 for game in found)
    assert counts == {True: 10, False: 10}


def test_figures_say_how_true_kept_and_dropped_answers_are():
    figures = select(scored_games(), "main", make_bench(consistent=0.5)).figures
    row = figures["filters"]["consistent (answers)"]
    assert (row["kept"], row["of"]) == (40, 80)
    assert (row["truth_kept"], row["truth_dropped"]) == (0.0, 100.0)
    assert row["lift"] == -100.0
    tenths = figures["consistency_by_decile"]
    assert [t["true"] for t in tenths] == [100.0] * 5 + [0.0] * 5
    plain = select(scored_games(), "main", make_bench()).figures
    assert "consistent (answers)" not in plain["filters"]


def test_the_page_tells_the_score():
    (game,) = scored_games(1)
    (turn,) = json.loads(game.to_json())["turns"]
    assert gallery._turn(turn, 0)["answer_note"].endswith(
        f"score {turn['retold']['score']:.2f}"
    )


# Corrupted copies -------------------------------------------------------------


def drawn_sets(count=200):
    rng = np.random.default_rng(1)
    return [
        ImageSet(tuple(rng.permutation(IMAGES)[:4].tolist()), game % 4)
        for game in range(count)
    ]


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_so_many_games_have_a_copy_and_it_is_never_the_target(share):
    bench, before = make_bench(corrupted=share), drawn_sets()
    after, images = put_copies(before, bench, 1)
    assert len(images) == IMAGES + round(share * 200)
    places = []
    for old, new in zip(before, after, strict=True):
        assert new.target == old.target
        moved = [p for p in range(4) if new.images[p] != old.images[p]]
        assert len(moved) <= 1 and old.target not in moved
        places += moved
    numbers = [i for s in after for i in s.images if i >= IMAGES]
    assert numbers == list(range(IMAGES, len(images)))
    assert share == 0 or set(places) == {0, 1, 2, 3}


def test_a_copy_is_the_target_blurred_or_in_other_colours():
    bench, before = make_bench(corrupted=1.0), drawn_sets()
    after, images = put_copies(before, bench, 1)
    kinds = collections.Counter()
    for game, (old, new) in enumerate(zip(before, after, strict=True)):
        (number,) = set(new.images) - set(old.images)
        clean = bench.images[old.images[old.target]]
        assert images[number].shape == clean.shape
        assert (images[number] != clean).any()
        name, _, rest = images.names[number].partition(", ")
        assert name == bench.images.names[old.images[old.target]]
        kind, _, told = rest.partition(" in game ")
        assert told == str(game)
        kinds[kind] += 1
    assert set(kinds) == {"blurred", "recoloured"} and min(kinds.values()) > 70
    assert len(set(images.names)) == len(images)
    assert images[3] is not None and (images[3] == bench.images[3]).all()


def test_copies_are_drawn_from_the_games_seed():
    bench, sets = make_bench(corrupted=0.5), drawn_sets()
    (found, images), (again, same), (other, _) = (
        put_copies(sets, bench, iteration) for iteration in (1, 1, 2)
    )
    assert found == again != other
    assert images.digest() == same.digest() != bench.images.digest()


def test_records_say_which_image_is_the_copy():
    prepared, records = played(make_bench(corrupted=0.5))
    copied = [r for r in records if r.copy is not None]
    assert len(records) == GAMES and len(copied) == GAMES / 2
    for r in copied:
        assert r.copy != r.target
        assert r.images[r.copy] == r.images[r.target]
        assert prepared.sets[r.game].images[r.copy] >= IMAGES
        assert " in game " in r.names[r.copy]
        assert GameRecord.from_json(r.to_json()) == r
    assert max(i for r in records for i in r.images) < IMAGES


def test_players_and_judges_see_the_copy_as_it_is():
    bench = make_bench(corrupted=0.5)
    prepared, records = played(bench)
    copies = jnp.asarray(prepared.images.pixels.mean((1, 2)), jnp.float32)
    for bank in (prepared.guesser, *prepared.judges):
        assert len(bank) == IMAGES + GAMES / 2
        np.testing.assert_array_equal(bank[IMAGES:], copies)
    # What the listener heard is of the copy and not of the target: else the
    # two would be as likely.
    record = next(r for r in records if r.copy is not None)
    assert record.belief[record.copy] != record.belief[record.target]


def test_games_are_learned_and_shown_on_the_images_they_were_played_on():
    bench = make_bench(corrupted=0.5)
    prepared, records = played(bench)
    complete = [r for r in records if r.outcome != "aborted"][3:]
    selection = select(complete, "main", bench)
    (stage,) = selection.stages
    source = stage.images_of("guesser", bench.images)
    examples = stage.examples(None)["guesser"]
    views = DialogGames(bench).show(complete, 1, 50)
    assert len(examples) == len(views) == len(complete)
    for record, example, view in zip(complete, examples, views, strict=True):
        seen = prepared.sets[record.game].images
        for i, j, shown in zip(seen, example.images, view.images, strict=True):
            np.testing.assert_array_equal(prepared.images[i], source[j])
            np.testing.assert_array_equal(prepared.images[i], shown)
    answers = stage.examples(None)["describer"]
    assert stage.images_of("describer", bench.images) is bench.images
    assert all(i < IMAGES for e in answers for i in e.images)


@pytest.mark.parametrize("shares", [(0.0, 0.0), (0.5, 0.5)])
def test_a_shard_is_the_same_made_again_and_made_alone(told, shares):
    bench = make_bench(consistent=shares[0], corrupted=shares[1])
    _, records = played(bench)
    _, alone = played(bench, shards=[2])
    assert alone == records[2 * SHARD :] and len(alone) == GAMES - 2 * SHARD


def test_without_copies_games_are_as_they_were():
    (_, plain), (_, some) = (
        played(make_bench(corrupted=x)) for x in (0.0, 0.5)
    )
    for one, other in zip(plain, some, strict=True):
        assert one.copy is None
        if other.copy is None:
            assert one.images == other.images and one.names == other.names
    numbered, images = with_copies(plain, make_bench())
    assert numbered == plain and len(images) == IMAGES


def test_a_low_side_that_blurs_nothing_is_refused():
    bench = make_bench(corrupted=0.5)
    bench.config.stic.low_side = 16
    with pytest.raises(ValueError, match="config.stic.low_side=16"):
        DialogGames(bench)
