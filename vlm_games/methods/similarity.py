"""How alike two questions or two answers are, from 0 to 1.

What is compared depends on the form of a pair (arXiv 2510.10487):

    form             question         answer
    short            short            short
    chat             short            long
    box              box              box
    multiple_choice  -                exact
    true_false       -                exact
    caption          -                short

"short" and "long" are of a `Similarity`: the overlap of tokens, or cosine of
sentence embeddings and BERTScore. "box" is the overlap of boxes, by geometric
mean with that of the words around them, if there are any.
"""

import collections
import dataclasses
import math
import re
from collections.abc import Sequence
from typing import Protocol

import numpy as np

ARTICLES = ("a", "an", "the")
TRUTHS = ("yes", "no", "true", "false")
_NUMBER = r"\s*(-?\d+(?:\.\d+)?)\s*"
_BOX = re.compile(rf"\[{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}\]")

Texts = Sequence[tuple[str, str]]  # what is compared with what


class Similarity(Protocol):
    """Compares many texts at once."""

    def short(self, texts: Texts) -> list[float]:
        """Of questions and of answers in a few words."""

    def long(self, texts: Texts) -> list[float]:
        """Of answers in whole sentences."""


class Overlap:
    """F1 of the words that both have, as often as both have them."""

    def short(self, texts: Texts) -> list[float]:
        return [overlap(a, b) for a, b in texts]

    long = short


class Sentences:
    """Cosine of sentence embeddings; for long texts BERTScore.

    BERTScore (arXiv 1904.09675, eq. 1, without rescaling) is of the same
    model's token embeddings. Below 0 counts as 0.
    """

    def __init__(self, name: str, model=None):
        """Loads the model.

        Args:
          name: hub id or local path. model: one at hand, instead.

        Raises:
          ValueError: sentence-transformers is missing; names the extra.
        """
        self._model = load_embedder(name) if model is None else model

    def short(self, texts: Texts) -> list[float]:
        found = self._embed(texts)
        return [
            _unit(float(_normal(found[a]) @ _normal(found[b])))
            for a, b in texts
        ]

    def long(self, texts: Texts) -> list[float]:
        found = self._embed(texts, output_value="token_embeddings")
        return [bert_score(found[a], found[b]) for a, b in texts]

    def _embed(self, texts: Texts, **options) -> dict[str, np.ndarray]:
        """Every text's embedding [D], or those of its tokens [n, D]."""
        each = list(dict.fromkeys(text for both in texts for text in both))
        if not each:
            return {}
        found = self._model.encode(each, show_progress_bar=False, **options)
        found = [np.asarray(x, np.float64) for x in found]
        return dict(zip(each, found, strict=True))


def load_embedder(name: str):
    """A sentence-transformers model, on the CPU beside what JAX runs on.

    Raises:
      ValueError: the extra is not installed.
    """
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise ValueError(
            "config.triangle.similarity='sentences' needs the package "
            "sentence-transformers: pip install 'vlm_games[sentences]', or "
            "set it to 'overlap'."
        ) from error
    return SentenceTransformer(
        name,
        device="cpu",
        trust_remote_code=False,
        model_kwargs={"use_safetensors": True},  # others are pickles
    )


def bert_score(one: np.ndarray, other: np.ndarray) -> float:
    """F1 of each token's best match, by cosine; token embeddings [n, D].

    The first and the last token are marks of the encoder and left out.
    """
    one, other = (_normal(x[1:-1]) for x in (one, other))
    if not len(one) or not len(other):
        return float(len(one) == len(other))
    cosines = one @ other.T
    precision, recall = cosines.max(0).mean(), cosines.max(1).mean()
    if min(precision, recall) <= 0:
        return 0.0
    return _unit(float(2 * precision * recall / (precision + recall)))


def _normal(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.maximum(length, 1e-12)


def _unit(value: float) -> float:
    return min(max(value, 0.0), 1.0)


def words(text: str) -> list[str]:
    """Lower-case words without punctuation and articles; "top-left" is one."""
    found = re.findall(r"\w+(?:[-'.]\w+)*", text.lower())
    return [word for word in found if word not in ARTICLES]


def overlap(one: str, other: str) -> float:
    """F1 of the multisets of words; of texts without any, their equality.

    Examples:
      >>> overlap("a red ring", "the red circle")
      0.5
    """
    a, b = collections.Counter(words(one)), collections.Counter(words(other))
    if not a and not b:
        return float(one.strip().lower() == other.strip().lower())
    return 2 * (a & b).total() / (a.total() + b.total())


def exact(one: str, other: str) -> float:
    """Whether the words are the same; 1 or 0."""
    a, b = words(one), words(other)
    return float(a == b if a or b else one.strip() == other.strip())


def boxes(text: str) -> list[tuple[float, ...]]:
    """All "[x1, y1, x2, y2]" in a text, in order.

    Examples:
      >>> boxes("the cat at [1, 2, 30, 40]")
      [(1.0, 2.0, 30.0, 40.0)]
    """
    return [tuple(map(float, found)) for found in _BOX.findall(text)]


def iou(one: Sequence[float], other: Sequence[float]) -> float:
    """Shared area of two boxes over the area of both together.

    Examples:
      >>> iou((0, 0, 2, 2), (1, 0, 3, 2)) == 1 / 3
      True
    """
    left, top = max(one[0], other[0]), max(one[1], other[1])
    right, bottom = min(one[2], other[2]), min(one[3], other[3])
    shared = max(right - left, 0.0) * max(bottom - top, 0.0)
    both = sum(
        max(b[2] - b[0], 0.0) * max(b[3] - b[1], 0.0) for b in (one, other)
    )
    return shared / (both - shared) if both > shared else 0.0


def boxed(similarity: Similarity, texts: Texts) -> list[float]:
    """Of texts with boxes: IoU, by geometric mean with the words beside.

    Boxes are compared in order, one that has no partner with nothing. Texts
    without any are compared as short ones.
    """
    rests = [(_BOX.sub(" ", a), _BOX.sub(" ", b)) for a, b in texts]
    found = similarity.short(rests)
    for i, both in enumerate(texts):
        a, b = map(boxes, both)
        if not a and not b:
            continue
        shared = sum(iou(x, y) for x, y in zip(a, b, strict=False))
        areas = shared / max(len(a), len(b))
        wordless = not any(words(rest) for rest in rests[i])
        found[i] = areas if wordless else math.sqrt(areas * found[i])
    return found


COMPARISONS = {
    "short": lambda similarity, texts: similarity.short(texts),
    "long": lambda similarity, texts: similarity.long(texts),
    "box": boxed,
    "exact": lambda similarity, texts: [exact(a, b) for a, b in texts],
}
# form -> how questions are compared (None: not at all), and answers.
FORMS = {
    "short": ("short", "short"),
    "chat": ("short", "long"),
    "box": ("box", "box"),
    "multiple_choice": (None, "exact"),
    "true_false": (None, "exact"),
    "caption": (None, "short"),
}


def form_of(
    question: str,
    answer: str,
    marks: Sequence[str],
    descriptions: Sequence[str] = (),
    long: int = 20,
) -> str:
    """The form of a pair, one of FORMS.

    Args:
      marks: what options begin with, as "A.".
      descriptions: instructions that ask for a caption.
      long: words from which an answer is a long one.

    Examples:
      >>> form_of("is it red ?", "yes", ["A.", "B."])
      'true_false'
      >>> form_of("what is it ? A. a cat B. a dog", "B", ["A.", "B."])
      'multiple_choice'
    """
    said = words(answer)
    if boxes(question) or boxes(answer):
        return "box"
    if len(said) == 1 and said[0] in TRUTHS:
        return "true_false"
    if said and any(exact(question, x) for x in descriptions):
        return "caption"
    offered = [
        mark for mark in marks if re.search(_option(mark), question, re.M)
    ]
    # "A" or "A. the cat" or "A) the cat", of what was offered.
    if len(offered) > 1 and any(
        re.match(rf"{re.escape(mark.rstrip('.):'))}(?!\w)", answer.strip())
        for mark in offered
    ):
        return "multiple_choice"
    return "chat" if len(said) >= long else "short"


def _option(mark: str) -> str:
    return rf"(?<!\S){re.escape(mark)}(?=\s)"


@dataclasses.dataclass(frozen=True)
class Scored:
    """How well a pair survived; `question` None if it is not compared."""

    question: float | None
    answer: float

    @property
    def score(self) -> float:
        """sqrt(Sim(Q, Q') Sim(A, A')), or what was compared alone."""
        if self.question is None:
            return self.answer
        return math.sqrt(self.question * self.answer)


def compare(
    similarity: Similarity,
    forms: Sequence[str],
    questions: Texts,
    answers: Texts,
) -> list[Scored]:
    """Scores pairs of these forms against their reconstructions."""
    sides = []
    for side, texts in enumerate((questions, answers)):
        found: list[float | None] = [None] * len(forms)
        for name, function in COMPARISONS.items():
            places = [i for i, f in enumerate(forms) if FORMS[f][side] == name]
            if places:
                values = function(similarity, [texts[i] for i in places])
                for i, value in zip(places, values, strict=True):
                    found[i] = value
        sides.append(found)
    return [Scored(q, a) for q, a in zip(*sides, strict=True)]
