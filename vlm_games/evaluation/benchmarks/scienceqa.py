"""ScienceQA: school questions, two to five options, images for half of them."""

import json
from collections.abc import Mapping, Sequence

from vlm_games.evaluation.benchmarks.benchmark import (
    Benchmark,
    Files,
    Question,
    Scores,
    overall,
    per_group,
    percent,
)
from vlm_games.evaluation.benchmarks.files import (
    BenchmarkError,
    check,
    field,
    match,
    read_json,
    read_keyed,
)
from vlm_games.evaluation.benchmarks.multiple_choice import chosen

SPLIT = "test"
FIRST_GRADES = tuple(f"grade{n}" for n in range(1, 7))


class ScienceQa(Benchmark):
    """Predictions: lines of {"question_id": "4", "text": "B"}, or the owners'
    {"results": {"4": 1}} with the number of the option."""

    needs = {"annotations": "problems.json", "questions": "pid_splits.json"}
    asks = needs
    said = "text"

    def questions(self, files: Files) -> list[Question]:
        asked = []
        for key, item in _items(files).items():
            place = f"{files.annotations}, problem {key!r}"
            parts = [item.get("hint"), field(item, "question", str, place)]
            image = item.get("image")
            asked.append(
                Question(
                    key,
                    "\n".join(part for part in parts if part),
                    (f"{SPLIT}/{key}/{image}",) if image else (),
                    "choice",
                    tuple(field(item, "choices", list, place)),
                )
            )
        return asked

    def record(self, question: Question, answer: str) -> dict:
        """With the number of the option; -1 where none was named."""
        named = chosen(answer, question.options)
        named = -1 if named is None else named
        return super().record(question, answer) | {"option": named}

    def submission(self, records: Sequence[Mapping], files: Files) -> str:
        results = {x[self.key]: x["option"] for x in records}
        return json.dumps({"results": results}, indent=1) + "\n"

    def score(self, files: Files) -> Scores:
        items = _items(files)
        named = self._named(files, items)
        match(named, items, files.predictions, files.questions)
        values = {
            key: float(named[key] == item["answer"])
            for key, item in items.items()
        }
        details = {
            "per_subject": per_group(values, lambda k: items[k].get("subject")),
            "per_context": {
                name: percent(v for k, v in values.items() if seen(items[k]))
                for name, seen in CONTEXTS.items()
            },
            "per_grade": per_group(values, lambda k: _grades(items[k])),
            "unparsed": sum(x in (None, -1) for x in named.values()),
        }
        return Scores(values, overall(values.values()), details)

    def _named(self, files: Files, items: Mapping) -> dict:
        """Number of the option that is named for each problem."""
        path = files.predictions
        try:
            whole = read_json(path)
        except BenchmarkError:  # lines, perhaps
            whole = None
        if isinstance(whole, dict) and "results" in whole:
            found = field(whole, "results", dict, str(path))
            return {
                key: check(value, int, f"{path}, results, {key!r}")
                for key, value in found.items()
            }
        said = self.predictions(files)
        return {
            key: chosen(text, items[key]["choices"]) if key in items else None
            for key, text in said.items()
        }


# The owners' classes, which overlap.
CONTEXTS = {
    "text": lambda item: bool(item.get("hint")),
    "image": lambda item: bool(item.get("image")),
    "none": lambda item: not item.get("hint") and not item.get("image"),
}


def _grades(item: Mapping) -> str:
    return "1-6" if item.get("grade") in FIRST_GRADES else "7-12"


def _items(files: Files) -> dict[str, dict]:
    """Problems of the test split."""
    problems = read_keyed(files.annotations)
    splits = check(read_json(files.questions), dict, str(files.questions))
    keys = field(splits, SPLIT, list, str(files.questions))
    match(
        [key for key in problems if key in set(keys)],
        keys,
        files.annotations,
        files.questions,
    )
    for key in keys:
        place = f"{files.annotations}, problem {key!r}"
        problem = problems[key]
        choices = field(problem, "choices", list, place)
        right = field(problem, "answer", int, place)
        if not 0 <= right < len(choices):
            raise BenchmarkError(
                f"{place}: answer {right} of {len(choices)} choices."
            )
    return {key: problems[key] for key in keys}
