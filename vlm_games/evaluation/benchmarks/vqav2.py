"""VQAv2: open questions about COCO images, ten human answers each."""

from collections.abc import Mapping, Sequence

from vlm_games.evaluation.benchmarks.benchmark import (
    Benchmark,
    Files,
    Question,
    Scores,
    overall,
    per_group,
)
from vlm_games.evaluation.benchmarks.files import (
    BenchmarkError,
    check,
    field,
    match,
    read_json,
    read_listed,
)
from vlm_games.evaluation.benchmarks.vqa_text import (
    agreement,
    clean,
    normalise,
)


class VqaV2(Benchmark):
    """Predictions: a list of {"question_id": 1, "answer": "yes"}."""

    needs = {
        "annotations": "v2_mscoco_<split>_annotations.json",
        "questions": "v2_OpenEnded_mscoco_<split>_questions.json",
    }
    asks = {"questions": needs["questions"]}

    def questions(self, files: Files) -> list[Question]:
        path = files.questions
        found = read_listed(path, "questions", self.key)
        split = field(read_json(path), "data_subtype", str, str(path))
        # test-dev is a part of the images of test2015.
        split = "test2015" if split.startswith("test") else split
        asked = []
        for key, item in found.items():
            place = f"{path}, question_id {key!r}"
            text = field(item, "question", str, place)
            image = field(item, "image_id", int, place)
            asked.append(
                Question(key, text, (f"COCO_{split}_{image:012d}.jpg",))
            )
        return asked

    def record(self, question: Question, answer: str) -> dict:
        """The answer is normalised here: the scorer leaves those be on which
        all people agree."""
        return super().record(question, normalise(clean(answer)))

    def score(self, files: Files) -> Scores:
        items = read_listed(files.annotations, "annotations", self.key)
        whole = read_listed(files.questions, "questions", self.key)
        # Annotations may be of a part of the questions.
        asked = [key for key in whole if key in items]
        match(items, asked, files.annotations, files.questions)
        said = self.predictions(files)
        match(said, items, files.predictions, files.annotations)
        values, types, kinds = {}, {}, {}
        for key, item in items.items():
            place = f"{files.annotations}, question_id {key!r}"
            people = field(item, "answers", list, place)
            values[key] = accuracy(said[key], people, place)
            types[key] = field(item, "answer_type", str, place)
            kinds[key] = item.get("question_type")
        details = {
            "per_answer_type": per_group(values, types.get),
            "per_question_type": per_group(values, kinds.get),
        }
        return Scores(values, overall(values.values()), details)


def accuracy(said: str, people: Sequence[Mapping], place: str) -> float:
    """Accuracy of one answer, in [0, 1].

    Where all people agree, answers are compared as they stand.

    Args:
      people: records with "answer" and, as a rule, "answer_id". Records that
        are alike in all fields are one person's.

    Raises:
      BenchmarkError: there is none, or one is no record of an answer.
    """
    if not people:
        raise BenchmarkError(f"{place}: nobody has answered.")
    place = f"{place}, answers"
    said = clean(said)
    heard = [
        clean(field(check(x, dict, place), "answer", str, place))
        for x in people
    ]
    if len(set(heard)) > 1:
        said, heard = normalise(said), [normalise(x) for x in heard]
    matches = [x == said for x in heard]
    if not any(matches):
        return 0.0
    people = [{**x, "answer": y} for x, y in zip(people, heard, strict=True)]
    twins = [[i for i, y in enumerate(people) if y == x] for x in people]
    return agreement(matches, twins)
