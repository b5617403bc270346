"""POPE: is there such a thing in the image? One file a way of sampling them."""

from collections.abc import Mapping, Sequence

from vlm_games.evaluation.benchmarks.benchmark import (
    Benchmark,
    Files,
    Question,
    Scores,
    as_lines,
    overall,
    percent,
)
from vlm_games.evaluation.benchmarks.files import (
    BenchmarkError,
    by_id,
    field,
    match,
    read_records,
)


class Pope(Benchmark):
    """Predictions: lines of {"question": "...", "answer": "yes"}.

    They are taken in order, as the owners do, unless every line has a
    "question_id" too.
    """

    needs = {"annotations": "coco_pope_<random|popular|adversarial>.json"}
    asks = needs

    def questions(self, files: Files) -> list[Question]:
        return [
            Question(
                key,
                field(item, "text", str, place),
                (field(item, "image", str, place),),
                "yes_no",
            )
            for place, key, item in _items(files)
        ]

    def record(self, question: Question, answer: str) -> dict:
        return {
            "question_id": question.key,
            "question": question.text,
            "answer": answer,
        }

    def submission(self, records: Sequence[Mapping], files: Files) -> str:
        return as_lines(records)

    def score(self, files: Files) -> Scores:
        items = {key: item for _, key, item in _items(files)}
        said = self._said(files, items)
        true, named = {}, {}
        for place, key, item in _items(files):
            true[key] = field(item, "label", str, place) != "no"
            named[key] = says_yes(said[key])
        values = {key: float(true[key] == named[key]) for key in items}
        hits = [true[key] for key in items if named[key]]
        found = [named[key] for key in items if true[key]]
        precision, recall = percent(hits), percent(found)
        both = 2 * sum(hits) / (len(hits) + len(found)) if hits or found else 0
        details = {
            "precision": precision,
            "recall": recall,
            "f1": round(100 * both, 2),
            "yes_ratio": percent(named.values()),
        }
        return Scores(values, overall(values.values()), details)

    def _said(self, files: Files, items: Mapping) -> dict:
        path = files.predictions
        records = read_records(path)
        if records and all("question_id" in x for x in records):
            said = self.predictions(files)
            match(said, items, path, files.annotations)
            return said
        if len(records) != len(items):
            raise BenchmarkError(
                f"{path} has {len(records)} answers and {files.annotations} "
                f"{len(items)} questions: without a question_id answers are "
                "taken in the order of the questions."
            )
        said = {}
        for number, (key, record) in enumerate(
            zip(items, records, strict=True), 1
        ):
            place = f"{path}, record {number}"
            asked = record.get("question", items[key]["text"])
            if asked.casefold() != items[key]["text"].casefold():
                raise BenchmarkError(
                    f"{place} answers {asked!r}; question {number} of "
                    f"{files.annotations} is {items[key]['text']!r}."
                )
            said[key] = field(record, "answer", str, place)
        return said


def says_yes(answer: str) -> bool:
    """As the owners read: yes, if the first sentence has no "no" or "not"."""
    words = answer.split(".")[0].replace(",", "").split(" ")
    return not {"No", "no", "not"} & set(words)


def _items(files: Files) -> list[tuple[str, object, Mapping]]:
    """(place in the file, id, record) of every question."""
    path = files.annotations
    found = by_id(read_records(path), "question_id", path)
    return [(f"{path}, question_id {k!r}", k, x) for k, x in found.items()]
