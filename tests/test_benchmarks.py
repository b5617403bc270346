"""Every benchmark scores small files in the true format to known figures."""

import json

import pytest
from benchmark_files import POPE, pope, vqav2, write

from vlm_games.evaluation.benchmarks.benchmark import Files, Question
from vlm_games.evaluation.benchmarks.chartqa import is_close
from vlm_games.evaluation.benchmarks.mathvista import as_written, extract
from vlm_games.evaluation.benchmarks.pope import says_yes
from vlm_games.evaluation.benchmarks.registry import BENCHMARKS


def test_vqav2_reports_percent_overall_and_by_type(tmp_path):
    files = vqav2(tmp_path, [(1003, "red"), (1001, "yes"), (1002, "two")])
    found = BENCHMARKS["vqav2"].score(files)
    # 1, 0.9 and 0.6 (see test_vqa_accuracy).
    assert found.overall == 83.33
    assert found.details["per_answer_type"] == {
        "yes/no": 100.0,
        "number": 90.0,
        "other": 60.0,
    }
    assert list(found.details["per_question_type"]) == [
        "is it",
        "how many",
        "what",
    ]
    (question, *_) = BENCHMARKS["vqav2"].questions(files)
    assert question.images == ("COCO_val2014_000000000042.jpg",)


def test_text_vqa_scores_the_owners_list(tmp_path):
    data = [
        {
            "question_id": 7,
            "image_id": "0a1b",
            "question": "what brand?",
            "answers": ["nokia"] * 3 + ["phone"] * 7,
        }
    ]
    said = [{"question_id": 7, "answer": "Nokia."}]
    files = Files(
        write(tmp_path, "p.json", said),
        write(tmp_path, "val.json", {"data": data}),
    )
    assert BENCHMARKS["textvqa"].score(files).overall == 90.0
    assert BENCHMARKS["textvqa"].questions(files)[0].images == ("0a1b.jpg",)


def test_pope_counts_what_is_found_and_what_is_made_up(tmp_path):
    files = pope(tmp_path, ["Yes, there is.", "yes", "No.", "no"])
    found = BENCHMARKS["pope"].score(files)
    assert found.overall == 50.0
    assert found.details == {
        "precision": 50.0,
        "recall": 50.0,
        "f1": 50.0,
        "yes_ratio": 50.0,
    }
    never = BENCHMARKS["pope"].score(pope(tmp_path, ["no"] * 4))
    assert (never.overall, never.details["f1"]) == (50.0, 0.0)
    assert never.details["precision"] is None


@pytest.mark.parametrize(
    ("answer", "yes"),
    [
        ("Yes", True),
        ("No", False),
        ("no, none", False),
        ("It is not there.", False),
        ("There is one. It is not red.", True),
        ("NO", True),  # the owners know "No" and "no" alone
    ],
)
def test_pope_reads_the_first_sentence(answer, yes):
    assert says_yes(answer) is yes


def test_gqa_scores_balanced_questions_by_type(tmp_path):
    def item(answer, structural, balanced=True):
        return {
            "imageId": "n161313",
            "question": "Is it overcast?",
            "answer": answer,
            "isBalanced": balanced,
            "types": {"structural": structural, "semantic": "global"},
        }

    items = {
        "1": item("no", "verify"),
        "2": item("left", "query"),
        "3": item("cat", "query"),
        "4": item("dog", "query", False),
    }
    said = {"1": "no", "2": "left", "3": "Cat", "4": "x"}
    said = [{"questionId": k, "prediction": v} for k, v in said.items()]
    files = Files(
        write(tmp_path, "p.json", said), write(tmp_path, "q.json", items)
    )
    found = BENCHMARKS["gqa"].score(files)
    assert (found.overall, found.details["open"]) == (66.67, 50.0)
    assert found.details["binary"] == 100.0
    record = BENCHMARKS["gqa"].record(Question("3", ""), "Cat.")
    assert record == {"questionId": "3", "prediction": "cat"}


@pytest.mark.parametrize(
    ("said", "label", "right"),
    [
        ("105", "100", True),
        ("105.1", "100", False),
        ("95", "100", True),
        ("12%", "0.12", True),
        ("12", "12%", False),
        ("-5", "-5.1", True),
        ("0.0", "0", False),  # a label of 0 is a word
        ("0", "0", True),
        ("Red", "red", True),
        ("1,000", "1000", False),
        ("nan", "1", False),
    ],
)
def test_chart_qa_lets_numbers_be_five_percent_off(said, label, right):
    assert is_close(said, label) is right


def test_chart_qa_tells_questions_apart_by_image_and_words(tmp_path):
    items = [
        {"imgname": "1.png", "query": "How many?", "label": "20"},
        {"imgname": "1.png", "query": "Which?", "label": "Red"},
        {"imgname": "2.png", "query": "Which?", "label": "Blue"},
    ]
    files = Files(None, write(tmp_path, "test_human.json", items))
    benchmark = BENCHMARKS["chartqa"]
    asked = benchmark.questions(files)
    said = [
        benchmark.record(x, y)
        for x, y in zip(asked, ["20.5", " red", "red"], strict=True)
    ]
    files = Files(write(tmp_path, "p.json", said), files.annotations)
    assert benchmark.score(files).overall == 66.67


def test_mm_vet_is_written_for_its_judge_and_scored_by_it(tmp_path):
    items = {
        "v1_0": {
            "imagename": "v1_0.png",
            "question": "What is x?",
            "answer": "-1<AND>-5",
            "capability": ["ocr", "math"],
        },
        "v1_1": {
            "imagename": "v1_1.png",
            "question": "What is d?",
            "answer": "1",
            "capability": ["ocr"],
        },
    }
    grades = {
        "v1_0": {"model": ["gpt"], "content": ["0.5"], "score": [0.5]},
        "v1_1": {"model": ["gpt"], "content": ["1.0"], "score": [1.0]},
    }
    files = Files(
        write(tmp_path, "grades.json", grades),
        write(tmp_path, "mm-vet.json", items),
    )
    benchmark = BENCHMARKS["mm_vet"]
    found = benchmark.score(files)
    assert found.overall == 75.0
    assert found.details["per_capability"] == {"ocr": 75.0, "math": 50.0}
    records = [benchmark.record(x, "one") for x in benchmark.questions(files)]
    text = benchmark.submission(records, files)
    assert json.loads(text) == {"v1_0": "one", "v1_1": "one"}


def test_llava_bench_is_relative_to_the_reference(tmp_path):
    questions = tuple(
        {"question_id": i, "image": f"{i}.jpg", "category": c, "text": "What?"}
        for i, c in enumerate(["conv", "conv", "detail"])
    )
    reviews = tuple(
        {"id": i + 1, "question_id": i, "category": "x", "tuple": pair}
        for i, pair in enumerate([[8, 6], [9, 3], [10.0, 10.0]])
    )
    files = Files(
        write(tmp_path, "reviews.jsonl", reviews),
        write(tmp_path, "questions.jsonl", questions),
    )
    benchmark = BENCHMARKS["llava_bench"]
    found = benchmark.score(files)
    # 9, 6.333: the owners round means to three digits first.
    assert found.overall == 70.4
    assert found.details["per_category"] == {"conv": 52.9, "detail": 100.0}
    mean = 100 * sum(found.values.values()) / 3
    assert mean == pytest.approx(19 / 27 * 100)
    line = benchmark.record(benchmark.questions(files)[0], "A beach.")
    assert json.loads(benchmark.submission([line], files)) == line
    assert {"prompt", "answer_id", "model_id", "metadata"} <= set(line)


@pytest.mark.parametrize(
    ("extraction", "item", "written"),
    [
        ("(b) two", {"choices": ["one", "two"]}, "two"),
        ("B", {"choices": ["one", "two"]}, "two"),
        ("twoo", {"choices": ["one", "two"]}, "two"),
        ("", {"choices": ["three", "two"]}, "two"),  # nearest to nothing
        ("4.0", {"answer_type": "integer"}, "4"),
        ("four", {"answer_type": "integer"}, None),
        ("1.25", {"answer_type": "float", "precision": 1}, "1.2"),
        ("2", {"answer_type": "float", "precision": 1}, "2.0"),
        ("[0, 2]", {"answer_type": "list"}, "[0, 2]"),
    ],
)
def test_math_vista_writes_answers_as_the_owners_do(extraction, item, written):
    kind = "multi_choice" if "choices" in item else "free_form"
    assert as_written(extraction, {**item, "question_type": kind}) == written


def test_math_vista_takes_answers_out_of_responses_by_rules():
    choices = {"choices": ["12 cm", "15 cm"]}
    assert extract("So the answer is (B).", choices) == "(B)"
    assert extract("It is 12 cm.", choices) == "(A)"
    assert extract("Who knows?", choices) == ""
    samples = {"choices": ["the same", "sample A", "sample A"]}
    assert extract("Sample A", samples) == "(B)"
    assert extract("A", samples) == "(A)"
    number = {"answer_type": "integer"}
    assert extract("2 and 3 make 1,005.", number) == "1005"
    assert extract("none", number) == ""
    assert extract("[1] or [2, 3]", {"answer_type": "list"}) == "[2, 3]"


def test_math_vista_scores_lines_and_the_owners_extractions(tmp_path):
    meta = {"task": "geometry", "skills": ["algebra"], "source": "x"}
    items = {
        "1": {
            "pid": "1",
            "question": "How far?",
            "image": "images/1.jpg",
            "question_type": "free_form",
            "answer_type": "float",
            "precision": 1,
            "choices": None,
            "unit": "m",
            "answer": "1.2",
            "metadata": meta,
        }
    }
    path = write(tmp_path, "testmini.json", items)
    lines = ({"pid": "1", "response": "About 1.23 m."},)
    benchmark = BENCHMARKS["mathvista"]
    found = benchmark.score(Files(write(tmp_path, "p.jsonl", lines), path))
    assert found.overall == 100.0
    assert found.details["per_skill"] == {"algebra": 100.0}
    assert found.details["extracted_by_rules"] == 1
    owners = {"1": {"response": "About 1.23 m.", "extraction": "1.3"}}
    found = benchmark.score(Files(write(tmp_path, "o.json", owners), path))
    assert (found.overall, found.details["extracted_by_rules"]) == (0.0, 0)
    (asked,) = benchmark.questions(Files(None, path))
    assert asked.text.startswith("How far? (Unit: m)\n")
    record = benchmark.record(asked, "1.2")
    text = benchmark.submission([record], Files(None, path))
    # What the owners' script reads of each problem.
    read = {"question_type", "answer_type", "choices", "query", "pid"}
    assert read | {"response", "metadata"} <= set(json.loads(text)["1"])


@pytest.mark.parametrize("table", [False, True])
def test_nlvr2_shows_two_images_and_counts_whole_sentences(tmp_path, table):
    items = tuple(
        {"identifier": key, "sentence": "Two dogs.", "label": label}
        for key, label in [
            ("dev-850-0-0", "False"),
            ("dev-850-2-0", "True"),
            ("dev-850-0-1", "True"),
        ]
    )
    files = Files(None, write(tmp_path, "dev.json", items))
    benchmark = BENCHMARKS["nlvr2"]
    asked = benchmark.questions(files)
    assert asked[1].images == ("dev-850-2-img0.png", "dev-850-2-img1.png")
    answers = ["No, one.", "I think it is false.", "Yes"]
    said = [benchmark.record(x, y) for x, y in zip(asked, answers, strict=True)]
    assert [x["label"] for x in said] == ["False", "False", "True"]
    text = benchmark.submission(said, files) if table else tuple(said)
    name = "p.csv" if table else "p.jsonl"
    found = benchmark.score(
        Files(write(tmp_path, name, text), files.annotations)
    )
    assert (found.overall, found.details["consistency"]) == (66.67, 50.0)


def test_nlvr_shows_one_drawing(tmp_path):
    items = (
        {
            "identifier": "72-0",
            "directory": "5",
            "sentence": "A tower.",
            "label": "true",
        },
    )
    path = write(tmp_path, "dev.json", items)
    benchmark = BENCHMARKS["nlvr"]
    (asked,) = benchmark.questions(Files(None, path))
    assert asked.images == ("5/dev-72-0-0.png",)
    said = write(tmp_path, "p.csv", "72-0,TRUE\n")
    assert benchmark.score(Files(said, path)).overall == 100.0


def test_every_benchmark_takes_an_id_where_pope_takes_an_order(tmp_path):
    lines = tuple(
        {"question_id": x["question_id"], "answer": x["label"]}
        for x in reversed(POPE)
    )
    files = Files(
        write(tmp_path, "said.jsonl", lines), write(tmp_path, "p.json", POPE)
    )
    assert BENCHMARKS["pope"].score(files).overall == 100.0
