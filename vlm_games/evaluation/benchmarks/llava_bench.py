"""LLaVA-Bench: open questions, compared with GPT-4's answers by a judge.

Answers are written as the judge reads them; what is scored are its reviews.
"""

import hashlib
from collections.abc import Hashable, Mapping, Sequence

from vlm_games.evaluation.benchmarks.benchmark import (
    Benchmark,
    Files,
    Question,
    Scores,
    as_lines,
)
from vlm_games.evaluation.benchmarks.files import (
    BenchmarkError,
    by_id,
    check,
    field,
    match,
    read_records,
)

MODEL = "vlm_games"


class LlavaBench(Benchmark):
    """Reviews: lines of {"question_id": 0, "category": "llava_bench_conv",
    "tuple": [8, 6]}: grades of the reference and of the model, from 1 to 10.
    """

    needs = {"annotations": "questions.jsonl"}
    asks = needs
    said = "text"
    tokens = 1024
    judged = True

    def questions(self, files: Files) -> list[Question]:
        asked = []
        for key, item in _items(files.annotations).items():
            place = f"{files.annotations}, question_id {key!r}"
            text = field(item, "text", str, place)
            image = field(item, "image", str, place)
            asked.append(Question(key, text, (image,), "open"))
        return asked

    def record(self, question: Question, answer: str) -> dict:
        # The judge wants an id of the answer; this one is the same each time.
        digest = hashlib.sha256(f"{question.key}\0{answer}".encode())
        return {
            "question_id": question.key,
            "prompt": question.text,
            "text": answer,
            "answer_id": digest.hexdigest()[:22],
            "model_id": MODEL,
            "metadata": {},
        }

    def submission(self, records: Sequence[Mapping], files: Files) -> str:
        """Lines, which eval_gpt_review_bench.py takes in --answer-list."""
        return as_lines(records)

    def score(self, files: Files) -> Scores:
        """The model's grades relative to the reference's, percent.

        `values` are the model's over the mean of the reference's, whose
        chance is left out of intervals.
        """
        items, path = _items(files.annotations), files.predictions
        reviews = _items(path)
        match(reviews, items, path, files.annotations)
        grades: dict[Hashable, list[float]] = {}
        groups: dict[str, list[list[float]]] = {}
        for key, review in reviews.items():
            place = f"{path}, question_id {key!r}"
            pair = field(review, "tuple", list, place)
            sound = [check(x, (int, float), place) > 0 for x in pair]
            if len(pair) != 2 or not all(sound):
                raise BenchmarkError(
                    f"{place}: the judge's grades are {pair}, expected two "
                    "above 0: this review failed; have it made again."
                )
            grades[key] = pair
            name = field(items[key], "category", str, place)
            groups.setdefault(name, []).append(pair)
        mean = sum(a for a, _ in grades.values()) / len(grades)
        values = {key: b / mean for key, (_, b) in grades.items()}
        details = {
            "per_category": {k: relative(v) for k, v in groups.items()},
        }
        return Scores(values, relative(list(grades.values())), details)


def relative(pairs: Sequence[Sequence[float]]) -> float:
    """Second mean over first, percent, rounded as the owners do: means to
    three digits, then the ratio to one."""
    first, second = (
        round(sum(grades) / len(pairs), 3)
        for grades in zip(*pairs, strict=True)
    )
    return round(second / first * 100, 1)


def _items(path) -> dict:
    return by_id(read_records(path), "question_id", path)
