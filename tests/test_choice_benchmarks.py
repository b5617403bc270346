"""Benchmarks of several options: small files, known figures."""

import base64
import json
import pathlib

import pytest
from benchmark_files import viva, write

from vlm_games.evaluation.benchmarks.benchmark import Files
from vlm_games.evaluation.benchmarks.files import BenchmarkError
from vlm_games.evaluation.benchmarks.registry import BENCHMARKS


def test_science_qa_scores_letters_and_the_owners_numbers(tmp_path):
    def problem(hint, image, grade, answer):
        return {
            "question": "Which?",
            "choices": ["one", "two"],
            "answer": answer,
            "hint": hint,
            "image": image,
            "grade": grade,
            "subject": "natural science",
        }

    problems = {
        "4": problem("A hint.", None, "grade2", 1),
        "8": problem("", "image.png", "grade7", 0),
        "9": problem("", None, "grade12", 0),
    }
    splits = {"train": ["9"], "test": ["4", "8"]}
    paths = (
        write(tmp_path, "problems.json", problems),
        write(tmp_path, "pid_splits.json", splits),
    )
    lines = (
        {"question_id": "4", "text": "The answer is B."},
        {"question_id": "8", "text": "two"},
    )
    benchmark = BENCHMARKS["scienceqa"]
    found = benchmark.score(Files(write(tmp_path, "p.jsonl", lines), *paths))
    assert found.overall == 50.0
    assert found.details["per_context"] == {
        "text": 100.0,
        "image": 0.0,
        "none": None,
    }
    assert found.details["per_grade"] == {"1-6": 100.0, "7-12": 0.0}
    asked = benchmark.questions(Files(None, *paths))
    assert asked[0].text == "A hint.\nWhich?"
    assert [x.images for x in asked] == [(), ("test/8/image.png",)]
    records = [benchmark.record(x, y) for x, y in zip(asked, "B?", strict=True)]
    text = benchmark.submission(records, Files(None, *paths))
    assert json.loads(text) == {"results": {"4": 1, "8": -1}}
    owners = benchmark.score(Files(write(tmp_path, "r.json", text), *paths))
    assert (owners.overall, owners.details["unparsed"]) == (50.0, 1)


PIXELS = base64.b64encode(b"not really an image" * 9).decode()
MMBENCH = f"""index\tquestion\thint\tA\tB\tC\tanswer\tcategory\timage
1\tWhich?\tLook.\tcat\tdog\tcow\tB\tanimal\t{PIXELS}
2\tWhere?\t\tleft\tright\t\tA\tplace\t{PIXELS}
1000001\tWhich?\tLook.\tdog\tcow\tcat\tA\tanimal\t1
2000001\tWhich?\tLook.\tcow\tcat\tdog\tC\tanimal\t1
1000002\tWhere?\t\tright\tleft\t\tB\tplace\t2
"""


@pytest.mark.parametrize("table", [False, True])
def test_mm_bench_is_right_only_in_every_rotation(tmp_path, table):
    said = {1: "B", 2: "A. left", 1000001: "A", 2000001: "B", 1000002: "left"}
    records = [{"index": k, "prediction": v} for k, v in said.items()]
    benchmark = BENCHMARKS["mmbench"]
    text = benchmark.submission(records, Files()) if table else tuple(records)
    name = "p.tsv" if table else "p.jsonl"
    files = Files(
        write(tmp_path, name, text), write(tmp_path, "dev.tsv", MMBENCH)
    )
    found = benchmark.score(files)
    assert (found.overall, found.details["vanilla"]) == (50.0, 100.0)
    assert found.details["circular"]
    assert found.details["per_category"] == {"animal": 0.0, "place": 100.0}
    asked = benchmark.questions(files)
    assert asked[0].text == "Look.\nWhich?"
    assert asked[2].images == asked[0].images  # its cell names another row
    assert [len(x.options) for x in asked] == [3, 2, 3, 3, 2]


def test_viva_follows_the_words_and_leaves_the_unanswered_out(tmp_path):
    files = viva(
        tmp_path,
        [
            (["A. Go on.", "B. Help.", "C. Call 112."], "B. Help."),
            (["A. Help.", "B. Go on.", "C. Call 112."], "B"),
            (["A. Help.", "B. Call 112.", "C. Go on."], "A"),
        ],
    )
    found = BENCHMARKS["viva"].score(files)
    assert (found.overall, len(found.values)) == (50.0, 2)
    assert found.details == {
        "unanswered": 1,
        "unlisted": 0,
        "unparsed": 0,
    }


def test_viva_shuffles_by_seed_and_says_what_it_showed(tmp_path):
    files = viva(tmp_path, [([], "")] * 3)
    benchmark = BENCHMARKS["viva"]
    orders = set()
    for seed in range(20):
        drawn = Files(None, files.annotations, seed=seed)
        first, *_ = benchmark.questions(drawn)
        assert first == benchmark.questions(drawn)[0]
        orders.add(first.options)
    assert len(orders) == 6
    record = benchmark.record(first, "C")
    assert record["action_list"][0] == f"A. {first.options[0]}"
    (told,) = json.loads(benchmark.submission([record], drawn))
    assert told["answer"] == "ABC"[first.options.index("Help.")]


def test_viva_takes_a_letter_that_was_left_out_as_it_is(tmp_path):
    """Four of the owners' items have no action B."""
    shown = ["A. Help.", "C. Go on.", "D. Call 112."]
    files = viva(tmp_path, [(shown, "A"), (shown, "D"), (shown, "B")])
    assert BENCHMARKS["viva"].score(files).overall == 100.0
    items = json.loads(pathlib.Path(files.annotations).read_text())
    del items[1]["action_list"][1]  # the right one
    write(tmp_path, "VIVA_annotation.json", items)
    found = BENCHMARKS["viva"].score(files)
    assert (found.overall, found.details["unlisted"]) == (50.0, 1)


def test_viva_wants_a_letter_before_each_action(tmp_path):
    twice = ["A. Help.", "A. Call 112."]
    with pytest.raises(BenchmarkError, match="a letter of its own"):
        BENCHMARKS["viva"].score(viva(tmp_path, [(twice, "A")] * 3))
