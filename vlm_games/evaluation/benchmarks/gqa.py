"""GQA: composed questions about Visual Genome images, one answer each."""

from vlm_games.evaluation.benchmarks.benchmark import (
    Benchmark,
    Files,
    Question,
    Scores,
    overall,
    per_group,
)
from vlm_games.evaluation.benchmarks.files import (
    field,
    match,
    read_keyed,
)


class Gqa(Benchmark):
    """Predictions: a list of {"questionId": "201", "prediction": "left"}.

    As the owners do, it scores the balanced questions; predictions for others
    may be there. Of their measures these need no further files; consistency,
    validity, plausibility, grounding and distribution are left to theirs.
    """

    needs = {"annotations": "<split>_balanced_questions.json"}
    asks = needs
    key = "questionId"
    said = "prediction"

    def questions(self, files: Files) -> list[Question]:
        asked = []
        for key, item in _items(files).items():
            place = f"{files.annotations}, question {key!r}"
            image = field(item, "imageId", str, place)
            text = field(item, "question", str, place)
            asked.append(Question(key, text, (f"{image}.jpg",)))
        return asked

    def record(self, question: Question, answer: str) -> dict:
        """Small letters, no full stop: the scorer compares letter by letter."""
        return super().record(question, answer.strip().rstrip(".").lower())

    def score(self, files: Files) -> Scores:
        items = _items(files)
        said = self.predictions(files)
        known = [key for key in said if key in items]
        match(known, items, files.predictions, files.annotations)
        values, structural, semantic = {}, {}, {}
        for key, item in items.items():
            place = f"{files.annotations}, question {key!r}"
            values[key] = float(said[key] == field(item, "answer", str, place))
            types = field(item, "types", dict, place)
            structural[key] = field(types, "structural", str, place)
            semantic[key] = field(types, "semantic", str, place)
        opened = per_group(
            values,
            lambda key: "open" if structural[key] == "query" else "binary",
        )
        details = {
            "binary": opened.get("binary"),
            "open": opened.get("open"),
            "per_structural_type": per_group(values, structural.get),
            "per_semantic_type": per_group(values, semantic.get),
        }
        return Scores(values, overall(values.values()), details)


def _items(files: Files) -> dict[str, dict]:
    """Balanced questions by id; a file without the mark has only such."""
    found = read_keyed(files.annotations)
    return {k: x for k, x in found.items() if x.get("isBalanced", True)}
