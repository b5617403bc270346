"""Very many games are chosen from without being held."""

import dataclasses
import tracemalloc

import numpy as np
import pytest
from toy_games import make_bench, played, select

from vlm_games.data import stored
from vlm_games.data.records import GameRecord, Retold
from vlm_games.data.schema import RecordError
from vlm_games.data.stored import Stored
from vlm_games.methods.game_figures import talk_figures, variety
from vlm_games.methods.ledger import read_ledger

BENCH = make_bench(
    sure=0.8, consistent=0.4, corrupted=0.3, balance=True, credit=0.0
)
ARMS = ("main", "unfiltered", "lost", "shuffled", "inconsistent", "success")


@pytest.fixture(scope="module")
def records():
    """200 games; what they say and how they end is drawn."""
    rng = np.random.default_rng(0)
    _, some = played(make_bench(corrupted=0.3))

    def turn(found):
        return dataclasses.replace(
            found,
            answer=str(rng.choice(["yes", "no", "red", "none"])),
            credit=rng.choice([None, 0.5, -0.5]),
            true=[None, True, False][rng.integers(3)],
            retold=Retold("", "", float(rng.integers(5)), 1),
        )

    return [
        dataclasses.replace(
            record,
            game=20 * again + record.game,
            turns=tuple(map(turn, record.turns)),
            kept=record.outcome != "aborted" and bool(rng.integers(2)),
        )
        for again in range(10)
        for record in some
    ]


def store(records, size: int = 30) -> Stored:
    found = Stored(GameRecord)
    for first in range(0, len(records), size):
        shard = records[first : first + size]
        found.add(f"shard {first}", [r.to_json().encode() for r in shard])
    return found


@pytest.fixture(params=[1 << 24, 1 << 10], ids=("memory", "disk"))
def disk(request, records, monkeypatch):
    monkeypatch.setattr(stored, "SPOOLED", request.param)
    return store(records)


def test_records_come_back_in_any_order(disk, records):
    assert list(disk) == records and len(disk) == len(records)
    for number in (197, 0, 30, 29, -1):
        assert disk[number] == records[number]
    assert disk[28:33] == records[28:33]
    with pytest.raises(IndexError):
        disk[200]


def test_a_line_that_breaks_the_schema_is_named():
    found = Stored(GameRecord)
    found.add("empty", [])
    found.add("b.jsonl", [b"{}", b"{"])
    with pytest.raises(RecordError, match="b.jsonl, line 2: not a line"):
        found[1]


@pytest.mark.parametrize("arm", ARMS)
def test_what_is_chosen_from_disk_is_what_is_chosen_in_memory(
    disk, records, arm
):
    budget = None
    if arm != "main":
        budget = select(records, "main", BENCH).budget
    found, expected = (
        select(given, arm, BENCH, budget) for given in (disk, records)
    )
    assert found.budget == expected.budget and found.budget["guesser"] > 20
    assert found.figures == expected.figures
    (mine,), (theirs,) = (
        [stage.examples(None) for stage in selection.stages]
        for selection in (found, expected)
    )
    assert mine == theirs and len(mine["describer"]) > 10


def test_talk_is_told_as_of_the_words(records):
    turns = [turn for record in records for turn in record.turns]
    asked, said = [t.question for t in turns], [t.answer for t in turns]
    assert len(set(said)) == 4
    found = talk_figures(read_ledger(records, BENCH))
    assert found == variety(asked, said)


def test_what_is_held_of_a_game_is_far_less_than_its_words(records):
    plain = [dataclasses.replace(r, copy=None) for r in records]
    bench, disk = make_bench(balance=True, credit=0.0), store(plain * 5)
    select(disk, "main", bench)  # what is loaded once
    tracemalloc.start()
    chosen = select(disk, "main", bench)
    held, most = tracemalloc.get_traced_memory()
    whole = list(disk)
    words = tracemalloc.get_traced_memory()[0] - held
    tracemalloc.stop()
    assert chosen.kept and len(whole) == 5 * len(records)
    assert held < 0.15 * words and most < 0.3 * words


def test_hosts_that_chose_otherwise_have_other_words_for_it(records):
    """`hosts.agree` compares what `repr` tells."""

    def told(records, arm="main"):
        (stage,) = select(records, arm, BENCH).stages
        return repr(stage.examples(None))

    assert told(store(records)) == told(store(records))
    spoilt = [
        *records[:-1],
        dataclasses.replace(records[-1], belief=(0.25,) * 4),
    ]
    others = (told(store(spoilt)), told(store(records), "inconsistent"))
    assert told(store(records)) not in others
