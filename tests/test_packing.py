"""Examples to packed rows: placeholders, branches, segments, tokenizers."""

import jax
import numpy as np
import pytest
import tokenizers
import transformers

from vlm_games.data.examples import Example, Piece
from vlm_games.data.packing import BatchShape, encode, pack
from vlm_games.data.tokenizer import load_tokenizer, word_tokenizer, wrap
from vlm_games.models.packed import attention_mask, token_logits

pytestmark = pytest.mark.usefixtures("quick_compiles")

T = 4  # tokens per image of the tiny model

TWO_BRANCHES = Example(
    (2, 5),
    (Piece("<image> is a circle <image>"),),
    (
        (Piece("question : red ? answer :"), Piece("yes no", 1.0)),
        (Piece("what color ? answer :"), Piece("none", 0.5)),
    ),
)
PLAIN = Example((), (Piece("is there a"), Piece("circle ? yes", 1.0)))
ONE_IMAGE = Example((1,), (Piece("there is <image> a"), Piece("red", 1.0)))


def alone(example: Example, branch: int) -> Example:
    """The trunk with one of its branches, as plain text."""
    return Example(example.images, example.trunk + example.branches[branch])


# Encoding ---------------------------------------------------------------------


def test_encode_expands_placeholders(tokenizer):
    example = Example((7,), (Piece("is <image> red"),))
    found = encode(example, tokenizer, T)
    image = tokenizer.image_id
    first, last = tokenizer.encode("is red")
    assert found.tokens.tolist() == [first, *[image] * T, last]
    assert found.image_slots.tolist() == [-1, 0, 1, 2, 3, -1]
    assert found.positions.tolist() == [0, 1, 2, 3, 4, 5]
    assert found.images == (7,)


def test_image_tokens_are_never_learned(tokenizer):
    example = Example((7,), (Piece("is"), Piece("<image> red", 0.5)))
    found = encode(example, tokenizer, T)
    assert found.weights.tolist() == [0.0] + [0.0] * T + [0.5]


def test_branches_go_on_where_the_trunk_ends(tokenizer):
    found = encode(TWO_BRANCHES, tokenizer, T)
    trunk = found.branches == 0
    assert trunk.sum() == 2 * T + 3
    assert found.image_slots[trunk].max() == 2 * T - 1
    for number, length in ((1, 8), (2, 6)):
        positions = found.positions[found.branches == number]
        assert positions.tolist() == list(range(11, 11 + length))
    assert found.weights[found.branches == 1].tolist() == [0.0] * 6 + [1.0] * 2
    assert found.weights[found.branches == 2].tolist() == [0.0] * 5 + [0.5]


@pytest.mark.parametrize("images", [(), (1, 2)])
def test_placeholders_and_images_that_differ_in_number_are_an_error(
    tokenizer, images
):
    example = Example(images, (Piece("is <image> red"),))
    message = f"has 1 <image> places for {len(images)} images"
    with pytest.raises(ValueError, match=message):
        encode(example, tokenizer, T)


@pytest.mark.parametrize(
    "example",
    [
        Example((), (Piece("yes", 1.0),)),
        Example((), (Piece("is"),), ((Piece("a"),), (Piece("no", 1.0),))),
    ],
    ids=["trunk", "branch"],
)
def test_a_learned_word_that_nothing_predicts_is_an_error(tokenizer, example):
    with pytest.raises(ValueError, match="begins with a learned word"):
        encode(example, tokenizer, T)


# Packing ----------------------------------------------------------------------


def test_examples_fill_a_row_and_then_the_next(tokenizer):
    encoded = [encode(PLAIN, tokenizer, T)] * 3  # 6 tokens each
    batch, used = pack(encoded, BatchShape(2, 13, 0), T)
    assert used == 3
    assert batch.segments.tolist() == [
        [1] * 6 + [2] * 6 + [0],
        [1] * 6 + [0] * 7,
    ]
    assert batch.positions[0, :12].tolist() == [*range(6), *range(6)]
    assert batch.weights.sum() == 9
    assert (batch.image_slots == -1).all()


def test_examples_that_do_not_fit_wait_for_the_next_batch(tokenizer):
    encoded = [encode(PLAIN, tokenizer, T)] * 3
    _, used = pack(encoded, BatchShape(1, 13, 0), T)
    assert used == 2
    encoded = [encode(ONE_IMAGE, tokenizer, T)] * 3
    _, used = pack(encoded, BatchShape(4, 13, 2), T)
    assert used == 2


def test_image_slots_count_over_the_whole_batch(tokenizer):
    encoded = [
        encode(e, tokenizer, T) for e in (ONE_IMAGE, PLAIN, TWO_BRANCHES)
    ]
    batch, used = pack(encoded, BatchShape(2, 26, 4), T)
    assert used == 3
    assert batch.images.tolist() == [1, 2, 5, 0]
    slots = batch.image_slots
    assert slots[slots >= 0].tolist() == list(range(3 * T))
    assert (slots[0] >= 0).sum() == T  # the other example is in row 1


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (BatchShape(2, 7, 4), "8 tokens and 1 images does not fit a row of 7"),
        (BatchShape(2, 9, 0), "does not fit a row of 9 tokens and 0 images"),
    ],
)
def test_an_example_that_can_never_fit_is_an_error(tokenizer, shape, message):
    encoded = [encode(ONE_IMAGE, tokenizer, T)]
    with pytest.raises(ValueError, match=message):
        pack(encoded, shape, T)


# Who sees whom ----------------------------------------------------------------


def test_attention_mask_is_what_the_drawing_says():
    segments = np.array([[1, 1, 1, 1, 2, 2, 0]])
    branches = np.array([[0, 1, 1, 2, 0, 1, 0]])
    expected = [
        [1, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0],
        [1, 0, 0, 1, 0, 0, 0],
        [0, 0, 0, 0, 1, 0, 0],
        [0, 0, 0, 0, 1, 1, 0],
        [0, 0, 0, 0, 0, 0, 1],
    ]
    mask = np.asarray(attention_mask(segments, branches)[0])
    assert mask.astype(int).tolist() == expected


@pytest.fixture(scope="module")
def logits_of(config, params, tokenizer):
    """Packs examples into one row of 48; returns (batch, logits [47, V])."""
    logits = jax.jit(token_logits, static_argnums=0)
    bank = np.random.default_rng(0).normal(size=(6 * T, 32))

    def compute(*examples):
        encoded = [encode(e, tokenizer, T) for e in examples]
        batch, used = pack(encoded, BatchShape(1, 48, 4), T)
        assert used == len(examples)
        slots = batch.images[:, None] * T + np.arange(T)
        images = bank[slots.ravel()].astype(np.float32)
        return batch, np.asarray(logits(config, params, batch, images)[0])

    return compute


def within(batch, segment, branch):
    """Columns that predict within a segment's branch: all but its last."""
    there = (batch.segments[0] == segment) & (batch.branches[0] == branch)
    return np.flatnonzero(there)[:-1]


@pytest.mark.parametrize("branch", [1, 2])
def test_a_branch_reads_as_trunk_and_branch_alone(logits_of, branch):
    batch, together = logits_of(TWO_BRANCHES)
    _, apart = logits_of(alone(TWO_BRANCHES, branch - 1))
    columns = within(batch, 1, branch)
    start = (batch.branches[0, : columns[0]] == 0).sum()
    expected = apart[start : start + len(columns)]
    np.testing.assert_allclose(together[columns], expected, atol=1e-5)


def test_a_segment_reads_as_if_it_were_alone(logits_of):
    batch, together = logits_of(ONE_IMAGE, TWO_BRANCHES, PLAIN)
    for segment, example in ((2, TWO_BRANCHES), (3, PLAIN)):
        single, apart = logits_of(example)
        for branch in range(len(example.branches) + 1):
            found = together[within(batch, segment, branch)]
            expected = apart[within(single, 1, branch)]
            np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_branch_does_see_its_trunk(logits_of):
    other = Example(
        TWO_BRANCHES.images,
        (Piece("<image> there a circle <image>"),),
        TWO_BRANCHES.branches,
    )
    batch, before = logits_of(TWO_BRANCHES)
    _, after = logits_of(other)
    columns = within(batch, 1, 2)
    assert np.abs(before[columns] - after[columns]).max() > 1e-3


def test_the_image_token_takes_no_probability(logits_of, tokenizer):
    _, logits = logits_of(PLAIN)
    assert (logits[:, tokenizer.image_id] == -1e9).all()


# Tokenizers -------------------------------------------------------------------


def test_words_survive_the_tokenizer(tokenizer):
    text = "is there a red circle ? answer : yes"
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_special_tokens_are_known_and_not_decoded(tokenizer):
    special = {
        tokenizer.pad_id,
        tokenizer.bos_id,
        tokenizer.eos_id,
        tokenizer.image_id,
    }
    assert len(special) == 4
    ids = tokenizer.encode("<image> yes <eos>")
    assert ids[0] == tokenizer.image_id
    assert ids[2] == tokenizer.eos_id
    assert tokenizer.decode([*ids, tokenizer.pad_id]) == "yes"


def test_an_unknown_word_is_one_unknown_token(tokenizer):
    assert tokenizer.encode("is zebra") == (
        *tokenizer.encode("is"),
        tokenizer.hf.unk_token_id,
    )


def test_a_saved_tokenizer_gives_the_same_ids(tmp_path, tokenizer):
    tokenizer.hf.save_pretrained(tmp_path)
    loaded = load_tokenizer(tmp_path)
    text = "<image> is there a ? yes <eos>"
    assert loaded.encode(text) == tokenizer.encode(text)
    assert loaded.decode(loaded.encode(text)) == "is there a ? yes"
    assert loaded.image_id == tokenizer.image_id


def test_words_are_numbered_once_each():
    tokenizer = word_tokenizer(["yes", "no", "yes", "<eos>"])
    assert len(tokenizer.hf) == 7


def test_a_tokenizer_without_an_image_token_is_an_error():
    words = tokenizers.models.WordLevel({"<unk>": 0}, unk_token="<unk>")
    blind = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer(words), unk_token="<unk>"
    )
    with pytest.raises(ValueError, match="no token '<image>'"):
        wrap(blind)
