"""ChartQA: questions about charts; a number may be 5% off."""

from collections.abc import Hashable, Mapping

from vlm_games.evaluation.benchmarks.benchmark import (
    Benchmark,
    Files,
    Question,
    Scores,
    overall,
)
from vlm_games.evaluation.benchmarks.files import (
    by_id,
    field,
    match,
    read_records,
)

TOLERANCE = 0.05  # arXiv 2203.10244, section 5.1


class ChartQa(Benchmark):
    """Predictions: the owners' records with an "answer" in place of a "label".

    The owners have a file of people's questions and one of generated ones;
    what papers report is the mean of both.
    """

    needs = {"annotations": "test_human.json or test_augmented.json"}
    asks = needs
    key = "imgname"

    def questions(self, files: Files) -> list[Question]:
        return [
            Question(key, key[1], (key[0],))
            for key in _items(files.annotations)
        ]

    def record(self, question: Question, answer: str) -> dict:
        return {
            "imgname": question.images[0],
            "query": question.text,
            "answer": answer,
        }

    def key_of(self, record: Mapping) -> Hashable:
        return record["imgname"], record["query"]

    def score(self, files: Files) -> Scores:
        items = _items(files.annotations)
        said = _items(files.predictions)
        match(said, items, files.predictions, files.annotations)
        values = {}
        for key, item in items.items():
            place = f"{files.annotations}, {key!r}"
            label = field(item, "label", str, place)
            place = f"{files.predictions}, {key!r}"
            answer = field(said[key], "answer", str, place)
            values[key] = float(is_close(answer.strip(), label))
        return Scores(values, overall(values.values()), {})


def is_close(said: str, label: str) -> bool:
    """Relaxed accuracy: numbers within 5% of the label, words the same.

    "12%" is 0.12. A label of 0 is compared as a word.
    """
    number, right = _number(said), _number(label)
    if number is None or not right:
        return said.lower() == label.lower()
    return abs(number - right) / abs(right) <= TOLERANCE


def _number(text: str) -> float | None:
    try:
        if text.endswith("%"):
            return float(text.rstrip("%")) / 100
        return float(text)
    except ValueError:
        return None


def _items(path) -> dict[tuple[str, str], dict]:
    """Records by image and question: together they are one of a kind."""
    records = read_records(path)
    for number, record in enumerate(records, 1):
        for name in ("imgname", "query"):
            field(record, name, str, f"{path}, record {number}")
    return by_id(records, lambda x: (x["imgname"], x["query"]), path)
