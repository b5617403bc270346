"""The entry point without a model, its runner, its statistics, its errors."""

import json
import pathlib

import numpy as np
import pytest
from benchmark_files import POPE, evaluate, pope, viva, vqav2, write

from vlm_games.evaluation.benchmarks import significance
from vlm_games.evaluation.benchmarks.benchmark import Files, Question, require
from vlm_games.evaluation.benchmarks.files import BenchmarkError
from vlm_games.evaluation.benchmarks.registry import BENCHMARKS
from vlm_games.evaluation.benchmarks.runner import run

RIGHT = [(1001, "yes"), (1002, "3"), (1003, "blue")]


def flags(files: Files) -> list[str]:
    return [
        f"--{name}={getattr(files, name)}"
        for name in ("predictions", "annotations", "questions")
        if getattr(files, name)
    ]


# The entry point ----------------------------------------------------------


def test_a_predictions_file_is_scored_without_jax(tmp_path):
    files = vqav2(tmp_path, [(1001, "yes"), (1002, "2"), (1003, "green")])
    output = tmp_path / "new" / "scores.json"
    # An import of what is None is an error.
    without = "import sys; sys.modules['jax'] = sys.modules['torch'] = None; "
    evaluate(
        "--benchmark=vqav2", *flags(files), f"--output={output}", before=without
    )
    found = json.loads(output.read_text())
    assert found["overall"] == 63.33
    assert found["per_answer_type"] == {
        "yes/no": 100.0,
        "number": 90.0,
        "other": 0.0,
    }
    assert found["items"] == 3
    assert found["interval"][0] <= 63.33 <= found["interval"][1]


def test_two_files_are_compared_item_by_item(tmp_path):
    files = vqav2(tmp_path, RIGHT)
    other = [{"question_id": k, "answer": "no"} for k, _ in RIGHT]
    other = write(tmp_path, "other.json", other)
    found = json.loads(
        evaluate("--benchmark=vqav2", *flags(files), f"--against={other}")
    )
    assert (found["overall"], found["against"]) == (100.0, 0.0)
    assert found["paired"]["difference"] == 100.0
    assert (found["paired"]["better"], found["paired"]["worse"]) == (3, 0)
    # Three items can say no more: of 8 choices of signs 2 are as far.
    assert found["paired"]["p_value"] == pytest.approx(0.25, abs=0.02)


def test_what_is_wrong_is_one_line_and_an_exit_status(tmp_path):
    files = vqav2(tmp_path, RIGHT[:2])
    said = evaluate("--benchmark=vqav2", *flags(files), code=1)
    assert said.startswith("vlm_games: ")
    assert said.count("\n") == 1


def test_a_dry_run_tells_what_would_be_asked_and_what_is_missing(tmp_path):
    files = vqav2(tmp_path, RIGHT)
    said = evaluate("--benchmark=vqav2", *flags(files), "--dry_run")
    assert said.startswith("vqav2: the answers of ") and "scored" in said
    new = Files(str(tmp_path / "new.jsonl"), *flags_of(files))
    said = evaluate(
        "--benchmark=vqav2",
        *flags(new),
        "--base=nowhere",
        f"--images={tmp_path}",
        "--dry_run",
        code=1,
    )
    assert "3 questions on" in said and "images are not in" in said
    assert not (tmp_path / "new.jsonl").exists()


def test_what_is_not_there_is_told_before_a_model_is_loaded(tmp_path):
    """The base is no model either: asked for, it would be the first error."""
    files = vqav2(tmp_path, RIGHT)
    new = Files(str(tmp_path / "new.jsonl"), *flags_of(files))
    given = ("--benchmark=vqav2", "--base=nowhere", *flags(new))
    said = evaluate(*given, f"--images={tmp_path / 'nodir'}", code=1)
    assert "images are not in" in said and "nodir" in said
    assert not (tmp_path / "new.jsonl").exists()
    said = evaluate("--benchmark=vqaV3", *flags(new), code=1)
    assert "--benchmark=vqaV3: did you mean 'vqav2'?" in said
    assert "give --benchmark: " in evaluate(*flags(new), code=1)
    gone = Files(files.predictions, "gone.json", files.questions)
    said = evaluate("--benchmark=vqav2", *flags(gone), code=1)
    assert "--annotations=gone.json: there is no such file." in said


# Errors -------------------------------------------------------------------


def scoring(name, files):
    with pytest.raises((BenchmarkError, OSError)) as caught:
        BENCHMARKS[name].score(files)
    return str(caught.value)


def test_missing_unknown_and_double_ids_are_named(tmp_path):
    said = scoring("vqav2", vqav2(tmp_path, RIGHT[:2]))
    assert "results.json does not answer 1 of the questions" in said
    assert "1003" in said
    said = scoring("vqav2", vqav2(tmp_path, [*RIGHT, (7, "x")]))
    assert "answers unknown 1 of the questions, the first being 7" in said
    said = scoring("vqav2", vqav2(tmp_path, [*RIGHT, RIGHT[0]]))
    assert "record 4: a second record of 1001" in said
    # Numbers in one file and text in the other show by their quotes.
    said = scoring("vqav2", vqav2(tmp_path, [(str(k), a) for k, a in RIGHT]))
    assert "1001, 1002, 1003" in said


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[1]", "record 1: expected an object, found 1 (int)"),
        ('[{"question_id": 1001}]', "field 'answer' is missing"),
        ('[{"answer": "yes"}]', "field 'question_id' is missing"),
        ('[{"question_id": 1001, "answer": 3}]', "expected text, found 3"),
        ('[{"question_id": true, "answer": ""}]', "found True (bool)"),
        ('[{"question_id": 1001,', "no JSON"),
        ('{"question_id": 1001, "answer": "a"}\n{"q', "line 2: no JSON"),
        ("", "does not answer 3"),
        (b"\xff\xfe".decode("latin-1"), "no JSON"),
    ],
)
def test_a_malformed_file_is_told_by_record_and_field(tmp_path, content, told):
    files = vqav2(tmp_path, RIGHT)
    write(tmp_path, "results.json", content)
    assert told in scoring("vqav2", files)


def test_a_file_of_another_kind_is_told(tmp_path):
    files = vqav2(tmp_path, RIGHT)
    said = scoring("vqav2", Files(files.predictions, *[files.questions] * 2))
    assert "the field 'annotations' is missing" in said
    said = scoring("vqav2", Files("nowhere.json", *flags_of(files)))
    assert "nowhere.json" in said


def flags_of(files):
    return files.annotations, files.questions


def test_a_file_that_is_not_given_is_asked_for():
    with pytest.raises(BenchmarkError, match="needs --questions: v2_Open"):
        require(Files("p", "a"), BENCHMARKS["vqav2"].needs, "Scoring vqav2")


def test_answers_in_order_must_be_to_the_same_questions(tmp_path):
    assert "3 answers and" in scoring("pope", pope(tmp_path, ["no"] * 3))
    files = pope(tmp_path, ["no"] * 4)
    text = pathlib.Path(files.predictions).read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    lines[1]["question"] = "Is there a cow in the image?"
    write(tmp_path, "said.json", tuple(lines))
    assert "record 2 answers 'Is there a cow" in scoring("pope", files)


def test_options_without_the_right_one_are_no_items_of_it(tmp_path):
    shown = ["A. Call 112.", "B. Go on."]
    files = viva(tmp_path, [(shown, "A")] * 3)
    assert "the right action is not in" in scoring("viva", files)


# Statistics ---------------------------------------------------------------


def test_the_interval_is_that_of_a_share():
    values = {i: float(i < 300) for i in range(1_000)}
    # 1.96 standard errors of 0.3 among 1,000.
    found = significance.bootstrap(values)
    assert found == pytest.approx((27.16, 32.84), abs=0.3)
    assert significance.bootstrap({0: 1.0}) == (100.0, 100.0)


def test_the_paired_test_is_mcnemars_where_scores_are_0_or_1():
    ours = {i: float(i < 60) for i in range(100)}
    theirs = {i: float(10 <= i < 60 or i == 99) for i in range(100)}
    found = significance.compare(ours, theirs)
    assert (found["better"], found["worse"]) == (10, 1)
    assert found["difference"] == 9.0
    # Exact: 2 (C(11, 0) + C(11, 1)) / 2 ** 11.
    assert found["p_value"] == pytest.approx(24 / 2**11, abs=0.003)


def test_models_that_say_the_same_do_not_differ():
    values = {i: i / 10 for i in range(10)}
    found = significance.compare(values, values)
    assert (found["p_value"], found["interval"]) == (1.0, (0.0, 0.0))
    with pytest.raises(ValueError, match="same items; 1 are in one"):
        significance.compare(values, {**values, 11: 0.0})


def test_chance_is_not_called_significant_more_often_than_it_should():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(80):
        a, b = rng.choice([0, 0.3, 0.9, 1.0], (2, 60))
        pair = dict(enumerate(a)), dict(enumerate(b))
        found.append(significance.compare(*pair)["p_value"])
    assert np.mean(np.array(found) < 0.05) < 0.12
    assert np.mean(np.array(found) < 0.5) == pytest.approx(0.5, abs=0.17)


# The runner ---------------------------------------------------------------

QUESTIONS = [Question(x["question_id"], x["text"]) for x in POPE]
MADE = {"model": "abc", "tokens": 16}


def test_what_was_stopped_goes_on_and_ends_alike(tmp_path):
    asked = []

    def say(part):
        if len(asked) == 3:
            raise KeyboardInterrupt
        asked.extend(part)
        return [f"yes {x.key}" for x in part]

    def go(name):
        path = tmp_path / "runs" / name
        return run(BENCHMARKS["pope"], QUESTIONS, say, path, 3, MADE), path

    path = tmp_path / "runs" / "stopped"
    with pytest.raises(KeyboardInterrupt):
        go("stopped")
    with open(path, "a") as file:
        file.write('{"question_id": 4, "ans')  # a write cut off
    asked.append(None)
    records, _ = go("stopped")
    assert [x.key for x in asked if x] == [1, 2, 3, 4]  # no question twice
    asked[:] = [None] * 4
    whole, other = go("whole")
    assert records == whole
    assert path.read_bytes() == other.read_bytes()


def test_a_file_made_otherwise_is_not_gone_on_with(tmp_path):
    def go(questions, made):
        say = lambda part: ["no"] * len(part)  # noqa: E731
        return run(BENCHMARKS["pope"], questions, say, path, 2, made)

    path = tmp_path / "p.jsonl"
    go(QUESTIONS[:2], MADE)
    with pytest.raises(BenchmarkError, match="model='abc', and now model='d'"):
        go(QUESTIONS, {**MADE, "model": "d"})
    with pytest.raises(BenchmarkError, match="answers other questions"):
        go(QUESTIONS[::-1], MADE)
    assert len(go(QUESTIONS, MADE)) == 4
    path.with_name("p.jsonl.made_with.json").unlink()
    with pytest.raises(BenchmarkError, match="was not made here"):
        go(QUESTIONS, MADE)
