"""Corrupted copies of the target as distractors in games."""

import collections

import jax.numpy as jnp
import numpy as np
import pytest
from toy_games import GAMES, IMAGES, make_bench, played, select

from vlm_games.data.records import GameRecord
from vlm_games.games.image_sets import ImageSet
from vlm_games.methods.copies import put_copies, with_copies
from vlm_games.methods.dialog_games import DialogGames


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
    places = np.flatnonzero(prepared.numbers >= IMAGES)
    assert len(places) == GAMES / 2
    for bank in (prepared.guesser, *prepared.judges):
        assert len(bank) == IMAGES + GAMES / 2
        np.testing.assert_array_equal(bank[places], copies)
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
