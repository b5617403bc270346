"""What one role said, framed for the other: on the device, as by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlm_games.data.tokenizer import word_tokenizer
from vlm_games.games.layout import handover
from vlm_games.games.prompts import Prompts, prompt_words
from vlm_games.sampling.handover import HandOver, hand_over
from vlm_games.sampling.session import Words

ASK, END = 7, 2
LIMIT = 8


def said(*rows, stopped=True) -> Words:
    """Words of some rows; all end with END if they stopped."""
    rows = [[*row, END] if stopped else list(row) for row in rows]
    tokens = np.zeros((len(rows), LIMIT), np.int32)
    for line, row in zip(tokens, rows, strict=True):
        line[: len(row)] = row
    n = len(rows)
    return Words(
        jnp.array(tokens),
        jnp.array([len(row) for row in rows], jnp.int32),
        jnp.full((n,), stopped),
        jnp.zeros(n),
    )


def read_by(words: Words, how: HandOver, active=None) -> list[list[int]]:
    """Ids that each row reads."""
    active = np.ones(len(words.count), bool) if active is None else active
    found = jax.jit(hand_over, static_argnums=2)(words, active, how)
    ids, lengths = found.ids
    assert ((np.array(lengths) > 0) == np.array(found.active)).all()
    return [x[:n].tolist() for x, n in zip(ids, lengths, strict=True)]


@pytest.mark.parametrize(
    ("before", "after"), [((8, 9), (10,)), ((), (10, 11, 12)), ((), ())]
)
def test_the_words_behind_the_mark_are_framed(before, after):
    how = HandOver(((ASK,),), before, after)
    rows = [[5, 6, ASK, 3, 4], [ASK, 3], [5, 5, 5, 5, 5, ASK, 4]]
    expected = [[*before, *x, *after] for x in ([3, 4], [3], [4])]
    assert read_by(said(*rows), how) == expected


@pytest.mark.parametrize("row", [[5, 6], [], [5, ASK], [5, 5, 5, 5, 5, 5, ASK]])
def test_without_words_behind_a_mark_nothing_is_read(row):
    how = HandOver(((ASK,),), (8,), (9,))
    assert read_by(said(row, [ASK, 3]), how) == [[], [8, 3, 9]]


def test_a_mark_may_be_long_and_spelled_in_several_ways():
    how = HandOver(((5, ASK), (6, 6)), (8,), ())
    rows = [[ASK, 5, ASK, 3], [6, 6, 6, 5, ASK], [5, 6, 5]]
    # The first to come counts, and what overlaps it does not.
    expected = [[8, 3], [8, 6, 5, ASK], []]
    assert read_by(said(*rows), how) == expected


def test_a_mark_does_not_begin_at_the_end_and_go_on_at_the_front():
    how = HandOver(((ASK, 3),), (8,), ())
    words = said([3, 5, 5, 5, 5, 5, 5, ASK], stopped=False)
    assert read_by(words, HandOver(how.marks, (8,), (), cut=True)) == [[]]


def test_an_empty_mark_stands_before_all_words():
    assert read_by(said([5, 6]), HandOver(((),), (8,), (9,))) == [[8, 5, 6, 9]]


def test_words_without_an_end_are_handed_over_only_if_they_may_be_cut():
    words = said([ASK, 3, 4], stopped=False)
    assert read_by(words, HandOver(((ASK,),), (8,), ())) == [[]]
    assert read_by(words, HandOver(((ASK,),), (8,), (), cut=True)) == [
        [8, 3, 4]
    ]


def test_silent_rows_read_nothing():
    how = HandOver(((ASK,),), (8,), ())
    words = said([ASK, 3], [ASK, 4])
    assert read_by(words, how, np.array([False, True])) == [[], [8, 4]]


def test_the_default_prompts_hand_over_what_they_would_write():
    prompts = Prompts()
    words = prompt_words(prompts, 4)
    tokenizer = word_tokenizer([*words, "is", "it", "red", "?"])
    how = handover(tokenizer, prompts, cut=False)
    spoken = tokenizer.encode("1 yes . ask is it red ?")
    tokens = np.zeros((1, 16), np.int32)
    tokens[0, : len(spoken) + 1] = [*spoken, tokenizer.eos_id]
    count = jnp.array([len(spoken) + 1])
    found = read_by(
        Words(jnp.array(tokens), count, jnp.array([True]), jnp.zeros(1)), how
    )
    assert found == [
        list(tokenizer.encode(prompts.question_only("is it red ?")))
    ]


def test_a_template_that_asks_twice_is_an_error():
    prompts = Prompts(describer="{image} {question} {question}")
    with pytest.raises(ValueError, match="needs {question} once"):
        prompts.question_frame()
