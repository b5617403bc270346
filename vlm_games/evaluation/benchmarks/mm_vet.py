"""MM-Vet: open questions, graded by a language model that others run.

Answers are written as its judge reads them; what is scored are its grades.
"""

import json
from collections.abc import Mapping, Sequence

from vlm_games.evaluation.benchmarks.benchmark import (
    Benchmark,
    Files,
    Question,
    Scores,
    overall,
    percent,
)
from vlm_games.evaluation.benchmarks.files import (
    BenchmarkError,
    check,
    field,
    match,
    read_keyed,
)

DIGITS = 1  # of the owners' tables


class MmVet(Benchmark):
    """Grades: {"v1_0": {"score": [0.4, ...], ...}}, one score a run."""

    needs = {"annotations": "mm-vet.json"}
    asks = needs
    tokens = 512
    judged = True

    def questions(self, files: Files) -> list[Question]:
        asked = []
        for key, item in read_keyed(files.annotations).items():
            place = f"{files.annotations}, {key!r}"
            text = field(item, "question", str, place)
            image = field(item, "imagename", str, place)
            asked.append(Question(key, text, (image,), "open"))
        return asked

    def submission(self, records: Sequence[Mapping], files: Files) -> str:
        """What mm-vet_evaluator.py takes as --result_file."""
        answers = {x[self.key]: x[self.said] for x in records}
        return json.dumps(answers, indent=1) + "\n"

    def score(self, files: Files) -> Scores:
        items, path = read_keyed(files.annotations), files.predictions
        graded = read_keyed(path)
        match(graded, items, path, files.annotations)
        values = {}
        for key in items:
            place = f"{path}, {key!r}"
            grades = field(graded[key], "score", list, place)
            for grade in grades:
                if not 0 <= check(grade, (int, float), place) <= 1:
                    raise BenchmarkError(f"{place}: a grade of {grade}.")
            if not grades:
                raise BenchmarkError(f"{place}: no grade.")
            values[key] = sum(grades) / len(grades)
        skills = list(
            dict.fromkeys(x for item in items.values() for x in _skills(item))
        )
        details = {
            "per_capability": {
                skill: percent(
                    (
                        v
                        for k, v in values.items()
                        if skill in _skills(items[k])
                    ),
                    DIGITS,
                )
                for skill in skills
            }
        }
        return Scores(values, overall(values.values(), DIGITS), details)


def _skills(item: Mapping) -> list[str]:
    return item.get("capability", [])
