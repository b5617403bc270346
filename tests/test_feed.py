"""Batches for fine-tuning are a pure function of (examples, seed, step)."""

import runpy

import numpy as np
import pytest
from program import ROOT

from vlm_games.data.examples import Example, read, said
from vlm_games.data.packing import BatchShape
from vlm_games.data.tokenizer import word_tokenizer
from vlm_games.methods.method import Stage
from vlm_games.replay import Replay
from vlm_games.trainer import make_streams
from vlm_games.training import feed

WORDS = "is there a red object ? yes no".split()
TOKENS_PER_IMAGE = 2
PIXELS = np.arange(20, dtype=np.uint8)[:, None, None, None] * np.ones(
    (1, 4, 4, 3), np.uint8
)


@pytest.fixture(scope="module")
def tokenizer():
    return word_tokenizer(WORDS)


def example(image: int, words: int = 4) -> Example:
    text = " ".join((WORDS * words)[:words])
    return Example((image,), (read("<image>"), read(text), said("yes")))


def draw(tokenizer, examples, step, rows=4, length=7, devices=1, seed=(0, 1)):
    shape = BatchShape(rows, length, rows)
    stream = feed.Stream("describer", examples, PIXELS, shape)
    batches = feed.draw(
        [stream], tokenizer, TOKENS_PER_IMAGE, devices, seed, step
    )
    return batches[0], feed.read_pixels([stream], batches)[0]


def test_the_same_step_gives_the_same_batch(tokenizer):
    examples = [example(i) for i in range(8)]
    one, other = (draw(tokenizer, examples, 3) for _ in range(2))
    np.testing.assert_array_equal(one[0].tokens, other[0].tokens)
    np.testing.assert_array_equal(one[1], other[1])


def test_an_epoch_has_every_example_once(tokenizer):
    examples = [example(i) for i in range(8)]
    seen = [
        int(i)
        for step in range(2)
        for i in draw(tokenizer, examples, step)[0].images
    ]
    assert sorted(seen) == list(range(8))


def test_epochs_and_seeds_differ_in_order(tokenizer):
    examples = [example(i) for i in range(8)]
    orders = {
        tuple(draw(tokenizer, examples, step, rows=8, seed=seed)[0].images)
        for step, seed in [(0, (0, 1)), (1, (0, 1)), (0, (1, 1))]
    }
    assert len(orders) == 3


def test_pixels_are_those_of_the_examples(tokenizer):
    examples = [example(i) for i in (3, 9, 17, 5)]
    batch, pixels = draw(tokenizer, examples, 0)
    np.testing.assert_array_equal(pixels[:, 0, 0, 0], batch.images)
    assert set(batch.images) == {3, 5, 9, 17}


def test_devices_take_different_examples(tokenizer):
    examples = [example(i) for i in range(8)]
    batch, _ = draw(tokenizer, examples, 0, devices=2)
    assert sorted(batch.images.tolist()) == list(range(8))
    assert batch.tokens.shape == (8, 7)


def test_a_too_long_example_is_named_with_the_field_to_raise(tokenizer):
    examples = [example(0), example(1, words=5)]
    with pytest.raises(ValueError, match="config.train.lengths.describer"):
        draw(tokenizer, examples, 0)


# Text alone -------------------------------------------------------------------


def text_stream(images=None, room=0) -> feed.Stream:
    text = Example((), (read("is there a"), said("yes")))
    return feed.Stream("text", [text] * 3, images, BatchShape(2, 9, room))


@pytest.mark.parametrize("images", [None, PIXELS], ids=["none", "a bank"])
def test_a_stream_of_text_alone_has_no_pixels(tokenizer, images):
    streams = [text_stream(images)]
    (batch,) = feed.draw(streams, tokenizer, 2, 3, (0,), 0)
    (pixels,) = feed.read_pixels(streams, (batch,))
    assert batch.tokens.shape == (6, 9)
    assert (batch.image_slots == -1).all()
    assert pixels.shape == (0, 1, 1, 3) and pixels.dtype == np.uint8


def test_room_for_images_without_any_is_an_error(tokenizer):
    streams = [text_stream(room=2)]
    batches = feed.draw(streams, tokenizer, 2, 1, (0,), 0)
    with pytest.raises(ValueError, match="'text' has room for 2 images"):
        feed.read_pixels(streams, batches)


def test_tokens_are_counted_without_padding_and_with_images(tokenizer):
    seen = feed.Stream("seen", [example(0)], PIXELS, BatchShape(3, 11, 3))
    streams = [seen, text_stream()]
    batches = feed.draw(streams, tokenizer, TOKENS_PER_IMAGE, 2, (0,), 0)
    # A row of 11 holds one example of 7 tokens, a row of 9 two of 4.
    assert feed.count_tokens(batches[:1]) == 2 * 3 * 7
    assert feed.count_tokens(batches) == 2 * 3 * 7 + 2 * 2 * 2 * 4
    assert feed.count_tokens(()) == 0


# Streams by config ------------------------------------------------------------


@pytest.mark.parametrize("too", [False, True])
def test_what_is_learned_is_augmented_and_replay_if_asked(too):
    c = runpy.run_path(str(ROOT / "configs/scenes.py"))["get_config"]().train
    c.replay_augmented = too
    examples = {"describer": [example(0)]}
    stage = Stage("sft", lambda params: examples)
    replay = [Replay("replay_answer", [example(1)], PIXELS, 1)]
    streams = make_streams(c, stage, examples, PIXELS, replay)
    assert {s.name: s.augmented for s in streams} == {
        "describer": True,
        "replay_answer": too,
    }
