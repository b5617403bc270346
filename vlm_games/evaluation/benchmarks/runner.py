"""Asks a model all questions of a benchmark, batch by batch.

Predictions are lines of JSON, added after each batch: what was stopped goes on
with the same command. A file beside them tells what they were made with.
"""

import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence

from vlm_games.data import atomic
from vlm_games.evaluation.benchmarks.benchmark import Benchmark, Question
from vlm_games.evaluation.benchmarks.files import BenchmarkError

Say = Callable[[Sequence[Question]], Sequence[str]]
Progress = Callable[[int, int], None]  # done, of


def run(
    benchmark: Benchmark,
    questions: Sequence[Question],
    say: Say,
    path: str | os.PathLike,
    batch: int,
    made_with: Mapping,
    progress: Progress = lambda done, of: None,
) -> list[dict]:
    """Answers the questions that `path` does not answer yet.

    Args:
      say: answers to some questions. batch: questions at a time.
      made_with: of the model and how it is asked, for JSON; a file that was
        made with something else is not gone on with.

    Returns:
      records of all questions, in their order.

    Raises:
      BenchmarkError: the file was made otherwise, or is of other questions.
    """
    path = pathlib.Path(path)
    check_claim(path, made_with)
    if not path.exists():
        content = json.dumps(made_with, indent=1) + "\n"
        atomic.write_bytes(_note(path), content.encode())
    done = _resume(benchmark, path)
    _check_order(benchmark, questions, done, path)
    with open(path, "a", encoding="utf-8") as file:
        for start in range(len(done), len(questions), batch):
            part = questions[start : start + batch]
            answers = say(part)
            made = [
                benchmark.record(question, answer)
                for question, answer in zip(part, answers, strict=True)
            ]
            file.writelines(json.dumps(record) + "\n" for record in made)
            file.flush()
            done += made
            progress(len(done), len(questions))
    return done


def forecast(
    questions: Sequence[Question],
    folder: str | os.PathLike,
    tokens: int,
    path: str | os.PathLike,
) -> tuple[str, bool]:
    """What `run` would ask, without asking or writing.

    Args:
      folder: where images that are given by name lie.
      tokens: most of an answer. path: of the predictions.

    Returns:
      (lines for people, whether all images are there).
    """
    images = {x for q in questions for x in q.images}
    missing = tell_missing(questions, folder)
    path = pathlib.Path(path)
    answered = path.read_bytes().count(b"\n") if path.exists() else 0
    left = max(len(questions) - answered, 0)
    lines = [
        f"{len(questions):,} questions on {len(images):,} images; "
        f"{answered:,} are answered in {path}.",
        f"At most {tokens} tokens an answer, {left * tokens:,} in all.",
    ]
    if missing:
        lines.append(missing)
    return "\n".join(lines), not missing


def tell_missing(
    questions: Sequence[Question], folder: str | os.PathLike
) -> str:
    """How many images of the questions are not in `folder`; "" if none."""
    named = {x for q in questions for x in q.images if isinstance(x, str)}
    root = pathlib.Path(folder)
    missing = sorted(x for x in named if not (root / x).is_file())
    if not missing:
        return ""
    return (
        f"{len(missing):,} of {len(named):,} images are not in {folder}, the "
        f"first {missing[0]}; --images names their folder."
    )


def check_claim(path: str | os.PathLike, made_with: Mapping) -> None:
    """Checks that predictions, if any are there, were made in the same way.

    Args:
      made_with: some or all of what `run` is given.

    Raises:
      BenchmarkError: they were made otherwise, or not by `run`.
    """
    path = pathlib.Path(path)
    note = _note(path)
    if not path.exists():
        return
    if not note.exists():
        raise BenchmarkError(
            f"{path} is there, but not {note.name}: it was not made here. Give "
            "another file to write predictions to."
        )
    before = json.loads(note.read_text(encoding="utf-8"))
    for name in made_with:
        if before.get(name) != made_with[name]:
            raise BenchmarkError(
                f"{path} was made with {name}={before.get(name)!r}, and now "
                f"{name}={made_with[name]!r}. Give another file, or delete "
                "this one."
            )


def _note(path: pathlib.Path) -> pathlib.Path:
    """The file that tells what predictions were made with."""
    return path.with_name(path.name + ".made_with.json")


def _resume(benchmark: Benchmark, path: pathlib.Path) -> list[dict]:
    """Records of a file; a last line that was cut off goes."""
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        with open(path, "r+b") as file:
            file.truncate(len(whole))
    lines = whole.decode("utf-8").split("\n")[:-1]
    try:
        return [json.loads(line) for line in lines]
    except json.JSONDecodeError as error:
        raise BenchmarkError(
            f"{path} holds a line that is no JSON: {error}. Delete the file to "
            "have it made again."
        ) from error


def _check_order(benchmark, questions, done, path) -> None:
    found = [benchmark.key_of(record) for record in done]
    asked = [question.key for question in questions[: len(done)]]
    if found != asked:
        raise BenchmarkError(
            f"{path} answers other questions than are asked now; give another "
            "file, or delete this one."
        )
