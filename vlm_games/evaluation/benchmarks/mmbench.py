"""MMBench: one image, up to four options; right only in every rotation of them.

The owners' table holds each question once or, for circular evaluation, once
more for every rotation of its options, under its index plus a multiple of a
million.
"""

import base64
import csv
import io
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
    read_records,
    read_table,
)
from vlm_games.evaluation.benchmarks.multiple_choice import chosen

ROTATION = 1_000_000
REFERENCE = 64  # an image cell no longer than this is the index of another row


class MmBench(Benchmark):
    """Predictions: lines of {"index": 241, "prediction": "A"}, or the owners'
    table with a column "prediction"."""

    needs = {"annotations": "mmbench_<split>.tsv, with answers"}
    asks = {"annotations": "mmbench_<split>.tsv"}
    key = "index"
    said = "prediction"

    def questions(self, files: Files) -> list[Question]:
        rows = _rows(files.annotations)
        asked = []
        for key, row in rows.items():
            place = f"{files.annotations}, index {key}"
            parts = [row.get("hint"), field(row, "question", str, place)]
            image = field(row, "image", str, place)
            if len(image) <= REFERENCE and image.isdigit():
                if int(image) not in rows:
                    raise BenchmarkError(f"{place}: no row of index {image}.")
                image = field(rows[int(image)], "image", str, place)
            text = "\n".join(part for part in parts if part)
            options = tuple(_options(row, place))
            pixels = base64.b64decode(image)
            asked.append(Question(key, text, (pixels,), "choice", options))
        return asked

    def submission(self, records: Sequence[Mapping], files: Files) -> str:
        """A table to be saved as a spreadsheet, which the server takes."""
        out = io.StringIO()
        table = csv.writer(out, delimiter="\t", lineterminator="\n")
        table.writerow([self.key, self.said])
        table.writerows([x[self.key], x[self.said]] for x in records)
        return out.getvalue()

    def score(self, files: Files) -> Scores:
        rows = _rows(files.annotations)
        said = self._said(files)
        match(said, rows, files.predictions, files.annotations)
        right, unparsed = {}, 0
        for key, row in rows.items():
            place = f"{files.annotations}, index {key}"
            answer = field(row, "answer", str, place)
            named = chosen(said[key], _options(row, place))
            unparsed += named is None
            right[key] = named is not None and LETTERS[named] == answer
        values: dict[int, float] = {}
        for key, found in right.items():
            whole = values.get(key % ROTATION, 1.0)
            values[key % ROTATION] = min(whole, float(found))
        first = {key: row for key, row in rows.items() if key in values}
        match(first, values, files.annotations, files.annotations)
        details = {
            "circular": len(rows) > len(values),
            "vanilla": percent(float(right[key]) for key in values),
            "per_category": per_group(
                values, lambda k: first[k].get("category")
            ),
            "per_l2_category": per_group(
                values, lambda k: first[k].get("l2-category")
            ),
            "unparsed": unparsed,
        }
        return Scores(values, overall(values.values()), details)

    def _said(self, files: Files) -> dict[int, str]:
        path = files.predictions
        if str(path).endswith((".tsv", ".txt")):
            rows = _rows(path)
            return {key: row.get(self.said, "") for key, row in rows.items()}
        records = by_id(read_records(path), self.key, path)
        return {
            int(key): field(x, self.said, str, f"{path}, index {key!r}")
            for key, x in records.items()
        }


def _rows(path) -> dict[int, dict]:
    rows = read_table(path)
    for number, row in enumerate(rows, 1):
        place = f"{path}, row {number}"
        index = field(row, "index", str, place)
        if not index.isdigit():
            raise BenchmarkError(f"{place}: index {index!r} is no number.")
        row["index"] = int(index)
    return by_id(rows, "index", path)


def _options(row: Mapping, place: str) -> list[str]:
    """Options from A on, as long as the row has them."""
    options = []
    for letter in LETTERS:
        if letter not in row:
            break
        options.append(row[letter])
    if len(options) < 2:
        raise BenchmarkError(f"{place}: fewer than two options A, B, ...")
    return options
