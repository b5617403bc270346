"""VIVA: what to do in the situation of an image, of up to five actions.

The right one stands first in a third of the items, so options are shuffled.
Items that nobody answered, 17 of 1,240, are told and not scored. In 4 the right
action is missing from the list: no answer is right, as the owners have it.
"""

import json
from collections.abc import Mapping, Sequence

import numpy as np

from vlm_games.evaluation.benchmarks.benchmark import (
    LETTERS,
    Benchmark,
    Files,
    Question,
    Scores,
    overall,
)
from vlm_games.evaluation.benchmarks.files import (
    BenchmarkError,
    by_id,
    check,
    field,
    match,
    read_records,
)
from vlm_games.evaluation.benchmarks.multiple_choice import chosen
from vlm_games.games.choice import shuffle_options

ASKED = "What is best done in this situation?"


class Viva(Benchmark):
    """Predictions: the owners' records with "image_file", "action_list" as it
    was shown, and "result": [{"prediction": "B"}]."""

    needs = {"annotations": "VIVA_annotation.json"}
    asks = needs
    key = "image_file"

    def questions(self, files: Files) -> list[Question]:
        asked = []
        for number, (key, item) in enumerate(_items(files).items()):
            place = f"{files.annotations}, {key!r}"
            rng = np.random.default_rng((files.seed, number))
            actions = tuple(_actions(item, place).values())
            options, _ = shuffle_options(rng, actions, 0)
            asked.append(Question(key, ASKED, (key,), "choice", options))
        return asked

    def record(self, question: Question, answer: str) -> dict:
        marked = zip(LETTERS, question.options, strict=False)
        return {
            self.key: question.key,
            "action_list": [f"{mark}. {words}" for mark, words in marked],
            "result": [{"prediction": answer}],
        }

    def submission(self, records: Sequence[Mapping], files: Files) -> str:
        """With the letter of the right action as it was shown."""
        items = _items(files)
        told = []
        for record in records:
            place = repr(record[self.key])
            right = _right(items[record[self.key]], place)
            shown = _actions(record, place)
            letters = [mark for mark, words in shown.items() if words == right]
            told.append({**record, "answer": letters[0] if letters else None})
        return json.dumps(told, indent=1) + "\n"

    def score(self, files: Files) -> Scores:
        items, path = _items(files), files.predictions
        said = by_id(read_records(path), self.key, path)
        match(said, items, path, files.annotations)
        values, unparsed, unanswered, unlisted = {}, 0, 0, 0
        for key, item in items.items():
            right = _right(item, f"{files.annotations}, {key!r}")
            if right is None:
                unanswered += 1
                continue
            place = f"{path}, {key!r}"
            shown = _actions(said[key], place)
            unlisted += not right
            if right and right not in shown.values():
                raise BenchmarkError(
                    f"{place}: the right action is not in its action_list."
                )
            options = list(shown.values())
            answer = _prediction(said[key], place)
            named = chosen(answer, options, tuple(shown))
            unparsed += named is None
            values[key] = float(named is not None and options[named] == right)
        if not values:
            raise BenchmarkError(f"{files.annotations}: no item has an answer.")
        details = {
            "unanswered": unanswered,
            "unlisted": unlisted,
            "unparsed": unparsed,
        }
        return Scores(values, overall(values.values()), details)


def _prediction(record: Mapping, place: str) -> str:
    results = field(record, "result", list, place)
    if len(results) != 1:
        raise BenchmarkError(f"{place}: {len(results)} results, expected one.")
    result = check(results[0], dict, f"{place}, result")
    return field(result, "prediction", str, f"{place}, result")


def _actions(item: Mapping, place: str) -> dict[str, str]:
    """Actions by their letters, one of which is left out in some items."""
    actions = {}
    for action in field(item, "action_list", list, place):
        mark, dot, words = check(action, str, place).partition(".")
        if mark.strip() not in tuple(LETTERS) or mark in actions or not dot:
            raise BenchmarkError(
                f"{place}: the action {action!r} does not begin with a letter "
                "of its own and a full stop."
            )
        actions[mark.strip()] = words.strip()
    return actions


def _right(item: Mapping, place: str) -> str | None:
    """Words of the right action; None if nobody says which it is, and "" if
    it is not among the actions."""
    answer = field(item, "answer", (str, type(None)), place)
    actions = _actions(item, place)
    if answer is None:
        return None
    return actions.get(answer, "")


def _items(files: Files) -> dict[str, dict]:
    return by_id(
        read_records(files.annotations), "image_file", files.annotations
    )
