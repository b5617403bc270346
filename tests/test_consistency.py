"""Triangular scores in games: which answers survive being told again."""

import collections
import dataclasses
import json

import numpy as np
import pytest
from toy_games import ASKED, GAMES, SHARD, make_bench, played, select

from vlm_games.data.records import Retold
from vlm_games.games.answer import Answer
from vlm_games.methods import retell
from vlm_games.methods.dialog_games import DialogGames
from vlm_games.report import gallery


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


@pytest.mark.parametrize("shares", [(0.0, 0.0), (0.5, 0.5)])
def test_a_shard_is_the_same_made_again_and_made_alone(told, shares):
    bench = make_bench(consistent=shares[0], corrupted=shares[1])
    _, records = played(bench)
    _, alone = played(bench, shards=[2])
    assert alone == records[2 * SHARD :] and len(alone) == GAMES - 2 * SHARD
