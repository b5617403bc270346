"""TextVQA: questions about what is written in the image, ten answers each."""

from vlm_games.evaluation.benchmarks.benchmark import (
    Benchmark,
    Files,
    Question,
    Scores,
    overall,
)
from vlm_games.evaluation.benchmarks.files import (
    BenchmarkError,
    field,
    match,
    read_listed,
)
from vlm_games.evaluation.benchmarks.vqa_text import (
    agreement,
    clean,
    normalise,
)

PEOPLE = 10


class TextVqa(Benchmark):
    """Predictions: a list of {"question_id": 34602, "answer": "nokia"}."""

    needs = {"annotations": "TextVQA_0.5.1_val.json"}
    asks = needs

    def questions(self, files: Files) -> list[Question]:
        asked = []
        for key, item in read_listed(
            files.annotations, "data", self.key
        ).items():
            place = f"{files.annotations}, question_id {key!r}"
            image = field(item, "image_id", str, place)
            text = field(item, "question", str, place)
            asked.append(Question(key, text, (f"{image}.jpg",)))
        return asked

    def score(self, files: Files) -> Scores:
        items = read_listed(files.annotations, "data", self.key)
        said = self.predictions(files)
        match(said, items, files.predictions, files.annotations)
        values = {}
        for key, item in items.items():
            place = f"{files.annotations}, question_id {key!r}"
            people = field(item, "answers", list, place)
            if len(people) != PEOPLE:
                raise BenchmarkError(
                    f"{place}: {len(people)} answers, expected {PEOPLE}."
                )
            values[key] = accuracy(said[key], people)
        return Scores(values, overall(values.values()), {})


def accuracy(said: str, people: list[str]) -> float:
    """Accuracy of one answer, in [0, 1]; unlike VQAv2 always normalised."""
    matches = [_alike(x) == _alike(said) for x in people]
    return agreement(matches, [[i] for i in range(len(people))])


def _alike(text: str) -> str:
    """VQA's rules, once commas and question marks went and "'s" stood alone."""
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's")
    return normalise(clean(text.strip()))
