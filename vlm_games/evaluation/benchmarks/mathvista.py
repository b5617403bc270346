"""MathVista: mathematics in images; options, numbers or lists as answers.

The owners take the answer out of a response with a language model. A file
with its "extraction" is scored by that; else the rules below take it, which
find less in long responses.
"""

import json
import re
from collections.abc import Mapping, Sequence

from vlm_games.evaluation.benchmarks.benchmark import (
    LETTERS,
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
    by_id,
    field,
    match,
    read_json,
    read_keyed,
    read_records,
)
from vlm_games.evaluation.benchmarks.multiple_choice import chosen

NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?|-?\.\d+")
GROUPS = ("source", "task", "context", "grade", "category")


class MathVista(Benchmark):
    """Predictions: lines of {"pid": "1", "response": "..."}, or the owners'
    {"1": {"response": "...", "extraction": "1.2"}}."""

    needs = {"annotations": "testmini.json"}
    asks = needs
    key = "pid"
    said = "response"
    tokens = 256

    def questions(self, files: Files) -> list[Question]:
        asked = []
        for key, item in _items(files).items():
            place = f"{files.annotations}, pid {key!r}"
            text = field(item, "question", str, place)
            text += f" (Unit: {item['unit']})" if item.get("unit") else ""
            text += HINTS.get(item.get("answer_type", ""), "")
            image = field(item, "image", str, place)
            options = tuple(item.get("choices") or ())
            style = "choice" if options else "open"
            asked.append(Question(key, text, (image,), style, options))
        return asked

    def submission(self, records: Sequence[Mapping], files: Files) -> str:
        """What extract_answer.py takes: problems, with query and response."""
        asked = {x.key: x.text for x in self.questions(files)}
        items = _items(files)
        answered = {
            x[self.key]: {**items[x[self.key]], "query": asked[x[self.key]]}
            | dict(x)
            for x in records
        }
        return json.dumps(answered, indent=1) + "\n"

    def score(self, files: Files) -> Scores:
        items, path = _items(files), files.predictions
        said = self._records(files)
        match(said, items, path, files.annotations)
        values, rules, found = {}, 0, {}
        for key, item in items.items():
            place = f"{path}, pid {key!r}"
            record = said[key]
            if "extraction" in record:
                answer = field(record, "extraction", (str, type(None)), place)
            else:
                rules += 1
                answer = extract(field(record, "response", str, place), item)
            found[key] = as_written(answer or "", item)
            place = f"{files.annotations}, pid {key!r}"
            values[key] = float(found[key] == field(item, "answer", str, place))
        details = {
            "per_question_type": _per(values, items, "question_type"),
            "per_answer_type": _per(values, items, "answer_type"),
            **{f"per_{name}": _per(values, items, name) for name in GROUPS},
            "per_skill": _per_skill(values, items),
            "extracted_by_rules": rules,
            "unparsed": sum(x is None for x in found.values()),
        }
        return Scores(values, overall(values.values()), details)

    def _records(self, files: Files) -> dict[str, dict]:
        path = files.predictions
        try:
            whole = read_json(path)
        except BenchmarkError:  # lines, perhaps
            whole = None
        if isinstance(whole, dict) and self.key not in whole:
            return read_keyed(path)
        return by_id(read_records(path), self.key, path)


HINTS = {
    "integer": "\nAnswer with a whole number, at the end.",
    "float": "\nAnswer with a decimal number, at the end.",
    "list": "\nAnswer with a list such as [1, 2, 3], at the end.",
}


def extract(response: str, item: Mapping) -> str:
    """The answer in a response, by rules: a letter in brackets, a number or a
    list; "" if there is none."""
    response, choices = response.strip(), item.get("choices") or []
    if choices:
        named = chosen(response, choices)
        return "" if named is None else f"({LETTERS[named]})"
    if item.get("answer_type") == "list":
        lists = re.findall(r"\[[^\[\]]*\]", response)
        return lists[-1] if lists else ""
    numbers = NUMBER.findall(response)
    return numbers[-1].replace(",", "") if numbers else ""


def as_written(answer: str, item: Mapping) -> str | None:
    """An answer as the owners' scorer writes it before it compares.

    Returns:
      the words of an option - the nearest in letters, if none is named; a
      number as text, rounded; None where no number is found.
    """
    choices, kind = item.get("choices") or [], item.get("answer_type")
    if item["question_type"] == "multi_choice":
        answer = answer.strip()
        marked = re.findall(r"\(([a-zA-Z])\)", answer)
        answer = marked[0].upper() if marked else answer
        number = ord(answer) - ord("A") if len(answer) == 1 else -1
        if 0 <= number < len(choices):
            return choices[number]
        return min(choices, key=lambda choice: edits(answer, choice))
    try:
        if kind == "integer":
            return str(int(float(answer)))
        if kind == "float":
            return str(round(float(answer), int(item["precision"])))
    except (KeyError, ValueError, TypeError, OverflowError):
        return None
    return answer


def edits(a: str, b: str) -> int:
    """Levenshtein's distance: letters put in, left out or changed."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        above, row = row, [i]
        for j, y in enumerate(b, 1):
            change = above[j - 1] + (x != y)
            row.append(min(above[j] + 1, row[-1] + 1, change))
    return row[-1]


def _per(values: Mapping, items: Mapping, name: str) -> dict:
    def group(key):
        item = items[key]
        return item.get(name, item.get("metadata", {}).get(name))

    return per_group(values, group)


def _per_skill(values: Mapping, items: Mapping) -> dict:
    skills: dict[str, list[float]] = {}
    for key, value in values.items():
        for skill in items[key].get("metadata", {}).get("skills", []):
            skills.setdefault(skill, []).append(value)
    return {skill: percent(found) for skill, found in skills.items()}


def _items(files: Files) -> dict[str, dict]:
    """Problems by pid."""
    items = read_keyed(files.annotations)
    for key, item in items.items():
        field(item, "question_type", str, f"{files.annotations}, pid {key!r}")
    return items
