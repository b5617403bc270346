"""NLVR and NLVR2: is a sentence true of the images?

NLVR2 shows two photographs; NLVR one drawing of three boxes, of which the
first of six arrangements is asked about.
"""

from collections.abc import Hashable, Mapping, Sequence

from vlm_games.evaluation.benchmarks.benchmark import (
    Benchmark,
    Files,
    Question,
    Scores,
    overall,
    percent,
)
from vlm_games.evaluation.benchmarks.files import (
    by_id,
    check,
    field,
    match,
    read_pairs,
    read_records,
)

TRUE, FALSE = ("true", "yes"), ("false", "no")


class Nlvr2(Benchmark):
    """Predictions: lines of {"identifier": "dev-850-0-0", "label": "True"}, or
    the owners' `dev-850-0-0,True`."""

    needs = {"annotations": "dev.json, test1.json or test2.json"}
    asks = needs
    key = "identifier"
    said = "label"
    asked = "Is this true of the two images? {sentence}"

    def questions(self, files: Files) -> list[Question]:
        asked = []
        for key, item in self._items(files).items():
            place = f"{files.annotations}, {key!r}"
            sentence = field(item, "sentence", str, place)
            text = self.asked.format(sentence=sentence)
            images = self.images_of(key, item, files)
            asked.append(Question(key, text, images, "yes_no"))
        return asked

    def images_of(
        self, key: str, item: Mapping, files: Files
    ) -> tuple[str, ...]:
        """Left and right image; beside them, or in the directory of a split."""
        pair = key.rpartition("-")[0]
        folder = f"{item['directory']}/" if "directory" in item else ""
        return tuple(f"{folder}{pair}-img{side}.png" for side in (0, 1))

    def sentence_of(self, key: str) -> Hashable:
        """What consistency groups by: the sentence, asked of several pairs."""
        split, images, _, sentence = key.split("-")
        return split, images, sentence

    def record(self, question: Question, answer: str) -> dict:
        return super().record(question, truth(answer))

    def submission(self, records: Sequence[Mapping], files: Files) -> str:
        return "".join(f"{x[self.key]},{x[self.said]}\n" for x in records)

    def score(self, files: Files) -> Scores:
        items, said = self._items(files), self._said(files)
        match(said, items, files.predictions, files.annotations)
        values: dict[str, float] = {}
        groups: dict[Hashable, list[float]] = {}
        for key, item in items.items():
            label = field(item, "label", str, f"{files.annotations}, {key!r}")
            values[key] = float(said[key].lower() == label.lower())
            groups.setdefault(self.sentence_of(key), []).append(values[key])
        details = {
            "consistency": percent(min(group) for group in groups.values()),
            "unparsed": sum(
                x.lower() not in TRUE + FALSE for x in said.values()
            ),
        }
        return Scores(values, overall(values.values()), details)

    def _said(self, files: Files) -> dict[Hashable, str]:
        path = files.predictions
        if not str(path).endswith(".csv"):
            return self.predictions(files)
        pairs = [{"identifier": a, "label": b} for a, b in read_pairs(path)]
        return {k: x["label"] for k, x in by_id(pairs, self.key, path).items()}

    def _items(self, files: Files) -> dict[str, dict]:
        path = files.annotations
        items = by_id(read_records(path), self.key, path)
        for key in items:
            check(key, str, f"{path}, field 'identifier'")
        return items


class Nlvr(Nlvr2):
    """The same with identifiers such as 1572-0, and one drawing."""

    needs = {"annotations": "dev.json, test.json or hidden.json"}
    asks = needs
    asked = "Is this true of the image? {sentence}"

    def images_of(
        self, key: str, item: Mapping, files: Files
    ) -> tuple[str, ...]:
        """The drawing, in the directory of the item."""
        # The split is in the names of images only, and in that of the file.
        split = str(files.annotations).rpartition("/")[2].partition(".")[0]
        folder = field(item, "directory", str, f"{key!r}")
        return (f"{folder}/{split}-{key}-0.png",)

    def sentence_of(self, key: str) -> Hashable:
        return key.split("-")[0]


def truth(answer: str) -> str:
    """ "True" or "False" by the first word that says so; "" if none does."""
    for word in answer.lower().replace(",", " ").replace(".", " ").split():
        if word in TRUE + FALSE:
            return "True" if word in TRUE else "False"
    return ""
