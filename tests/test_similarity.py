"""Similarities have the values that their formulas say."""

import math

import numpy as np
import pytest

from vlm_games.games.instructions import Instructions, chat_instructions
from vlm_games.methods.similarity import (
    FORMS,
    Overlap,
    Scored,
    Sentences,
    bert_score,
    boxed,
    compare,
    exact,
    form_of,
    iou,
    overlap,
)
from vlm_games.worlds import questions as world

CHAT = chat_instructions()
LETTERS = [f"{mark}." for mark in CHAT.marks]
OPTIONS = "Which is it?\nA. a cat\nB. a dog"
LONG = " ".join(["word"] * 20)


class Stub:
    """An embedder that knows a few texts; counts what it is asked."""

    short = {"cat": [2.0, 0.0], "dog": [0.0, 3.0], "kitten": [1.0, 1.0]}
    opposite = {"not cat": [-1.0, 0.0]}

    def __init__(self):
        self.asked = []

    def encode(self, texts, show_progress_bar, output_value=None):
        assert not show_progress_bar
        self.asked.append(list(texts))
        known = self.short | self.opposite
        if output_value is None:
            return np.array([known[text] for text in texts])
        # [CLS] word word [SEP]
        return [
            np.array([[9, 9], *[known[w] for w in text.split()], [7, 9]])
            for text in texts
        ]


@pytest.mark.parametrize(
    ("one", "other", "value"),
    [
        ("is there a ring ?", "Is there the ring", 1.0),
        ("is there a red ring ?", "is there a ring ?", 2 * 3 / (4 + 3)),
        ("red red blue", "red blue blue", 2 * 2 / 6),
        ("top-left", "top-right", 0.0),
        ("red", "", 0.0),
        ("?", "?", 1.0),
        ("?", "!", 0.0),
        ("", "", 1.0),
    ],
)
def test_overlap_is_the_f1_of_words_without_articles(one, other, value):
    assert overlap(one, other) == overlap(other, one) == pytest.approx(value)
    assert Overlap().short([(one, other)]) == [overlap(one, other)]


@pytest.mark.parametrize(
    ("one", "other", "value"),
    [("Yes.", "yes", 1), ("yes", "no", 0), ("B", "b", 1), ("-", "+", 0)],
)
def test_exact_is_all_or_nothing(one, other, value):
    assert exact(one, other) == value


@pytest.mark.parametrize(
    ("one", "other", "value"),
    [
        ((0, 0, 2, 2), (0, 0, 2, 2), 1.0),
        ((0, 0, 2, 2), (1, 0, 3, 2), 2 / 6),
        ((0, 0, 1, 1), (2, 2, 3, 3), 0.0),
        ((0, 0, 0, 0), (0, 0, 0, 0), 0.0),  # of no area
        ((2, 2, 0, 0), (0, 0, 2, 2), 0.0),  # inside out
    ],
)
def test_boxes_are_compared_by_their_shared_area(one, other, value):
    assert iou(one, other) == pytest.approx(value)


@pytest.mark.parametrize(
    ("one", "other", "value"),
    [
        ("[0, 0, 2, 2]", "[1,0,3,2]", 1 / 3),
        ("a dog [0, 0, 2, 2]", "dog [1, 0, 3, 2]", math.sqrt(1 / 3)),
        ("[0, 0, 1, 1] [0, 0, 2, 2]", "[0, 0, 1, 1]", 0.5),
        ("[0, 0, 1, 1]", "there", 0.0),
        ("a dog", "the dog", 1.0),
        ("[0.1, 0.1, 0.3, 0.3]", "[0.1, 0.1, 0.3, 0.3]", 1.0),
    ],
)
def test_words_beside_boxes_count_as_much_as_the_boxes(one, other, value):
    assert boxed(Overlap(), [(one, other)]) == [pytest.approx(value)]


@pytest.mark.parametrize(
    ("question", "answer", "form"),
    [
        ("Is it red?", "Yes.", "true_false"),
        ("Is it red?", "Yes, it is.", "short"),
        ("The ring is red.", "False", "true_false"),
        (OPTIONS, "B", "multiple_choice"),
        (OPTIONS, "A. a cat", "multiple_choice"),
        (OPTIONS, "Better ask", "short"),
        ("Which is it, A or B?", "B", "short"),
        ("Where is the dog?", "[0, 1, 2, 3]", "box"),
        ("What is at [0, 1, 2, 3] ?", "a dog", "box"),
        (CHAT.describe[0], "A dog.", "caption"),
        ("What is going on?", LONG, "chat"),
        ("What is going on?", LONG[5:], "short"),
    ],
)
def test_the_form_is_told_from_the_pair(question, answer, form):
    assert form_of(question, answer, LETTERS, CHAT.describe, 20) == form


def test_the_worlds_own_questions_are_true_false_or_short():
    marks = Instructions().marks
    for question in world.QUESTIONS:
        form = "true_false" if question.yes_no else "short"
        answer = "yes" if question.yes_no else "red"
        assert form_of(question.text, answer, marks) == form


@pytest.mark.parametrize(
    ("form", "question", "answer"),
    [
        ("short", 0.5, 0.5),
        ("chat", 0.5, 0.5),
        ("box", 0.5, 0.5),
        ("multiple_choice", None, 0.0),
        ("true_false", None, 0.0),
        ("caption", None, 0.5),
    ],
)
def test_each_form_compares_what_the_paper_does(form, question, answer):
    texts = [("red ring", "red box")]
    (found,) = compare(Overlap(), [form], texts, texts)
    assert (found.question, found.answer) == (question, answer)
    assert found.score == pytest.approx(answer)


def test_the_score_is_the_geometric_mean():
    assert Scored(0.25, 0.64).score == pytest.approx(0.4)
    assert Scored(0.0, 1.0).score == 0.0
    assert Scored(None, 0.64).score == 0.64


def test_pairs_of_all_forms_are_scored_together_and_in_order():
    forms = [*FORMS, *reversed(FORMS)]
    texts = [(f"word{i} same", "same") for i in range(len(forms))]
    together = compare(Overlap(), forms, texts, texts)
    alone = [
        compare(Overlap(), [form], [text], [text])[0]
        for form, text in zip(forms, texts, strict=True)
    ]
    assert together == alone
    assert compare(Overlap(), [], [], []) == []


def test_sentences_are_compared_by_cosine_never_below_0():
    stub = Stub()
    similar = Sentences("", stub)
    texts = [("cat", "cat"), ("cat", "dog"), ("cat", "kitten")]
    texts += [("cat", "not cat")]
    assert similar.short(texts) == pytest.approx([1, 0, 0.5**0.5, 0])
    assert stub.asked == [["cat", "dog", "kitten", "not cat"]]
    assert similar.short([]) == []


def test_long_texts_are_compared_by_bert_score():
    found = Sentences("", Stub()).long([("cat dog", "cat kitten")])
    # Best matches: cat 1, dog sqrt(1/2); cat 1, kitten sqrt(1/2).
    assert found == pytest.approx([(1 + 0.5**0.5) / 2])
    (short,) = Sentences("", Stub()).long([("cat dog", "cat")])
    assert short == pytest.approx(2 * 1 * 0.5 / 1.5)


def test_bert_score_of_nothing_or_of_opposites_is_0():
    nothing, cat = np.ones((2, 2)), np.array([[9, 9], [1.0, 0], [9, 9]])
    assert bert_score(nothing, cat) == 0 and bert_score(nothing, nothing) == 1
    assert bert_score(cat, cat * [[1], [-1], [1]]) == 0


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(
        __import__("sys").modules, "sentence_transformers", None
    )
    with pytest.raises(ValueError, match=r"vlm_games\[sentences\]"):
        Sentences("WhereIsAI/UAE-Large-V1")


@pytest.mark.slow
def test_a_real_embedder_is_read_from_a_local_path(tmp_path):
    pytest.importorskip("sentence_transformers")
    transformers = pytest.importorskip("transformers")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "ring"]
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join(words))
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    folder = tmp_path / "bert"
    transformers.BertModel(config).save_pretrained(folder)
    transformers.BertTokenizer(vocab_file=str(vocabulary)).save_pretrained(
        folder
    )
    similar = Sentences(str(folder))  # mean pooling, as of any encoder
    for of in (similar.short, similar.long):
        same, other = of([("red ring", "red ring"), ("red ring", "[MASK]")])
        assert same == pytest.approx(1.0, abs=1e-5) and other < same
