"""Small files in the true formats of benchmarks, and the entry point."""

import json
import os
import pathlib
import subprocess
import sys

from vlm_games.evaluation.benchmarks.benchmark import Files


def write(folder, name: str, content) -> str:
    """Writes text as it is, a list of (...) as JSON lines, else JSON."""
    path = folder / name
    if isinstance(content, tuple):
        content = "".join(json.dumps(line) + "\n" for line in content)
    elif not isinstance(content, str):
        content = json.dumps(content)
    path.write_text(content, encoding="utf-8")
    return str(path)


def vqav2(folder, said) -> Files:
    """Three questions of types yes/no, number and other; `said` by id."""
    heads = [
        (1001, "is it", "yes/no", ["yes"] * 10),
        (1002, "how many", "number", ["2"] * 3 + ["3"] * 7),
        (1003, "what", "other", ["red"] * 2 + ["blue"] * 8),
    ]
    annotations = [
        {
            "question_id": key,
            "image_id": 42,
            "question_type": kind,
            "answer_type": answer_type,
            "multiple_choice_answer": answers[-1],
            "answers": [
                {"answer": a, "answer_confidence": "yes", "answer_id": i}
                for i, a in enumerate(answers, 1)
            ],
        }
        for key, kind, answer_type, answers in heads
    ]
    questions = [
        {"question_id": key, "image_id": 42, "question": f"{kind} ?"}
        for key, kind, _, _ in heads
    ]
    head = {
        "info": {"version": "2.0"},
        "task_type": "Open-Ended",
        "data_type": "mscoco",
        "data_subtype": "val2014",
        "license": {},
    }
    predictions = [{"question_id": k, "answer": a} for k, a in said]
    return Files(
        write(folder, "results.json", predictions),
        write(folder, "annotations.json", {**head, "annotations": annotations}),
        write(folder, "questions.json", {**head, "questions": questions}),
    )


POPE = tuple(
    {
        "question_id": number,
        "image": "COCO_val2014_000000000042.jpg",
        "text": f"Is there a {thing} in the image?",
        "label": label,
    }
    for number, (thing, label) in enumerate(
        [("cat", "yes"), ("dog", "no"), ("cup", "yes"), ("car", "no")], 1
    )
)


def pope(folder, answers) -> Files:
    """Four questions, two of them "yes"; answers in order, without ids."""
    lines = tuple(
        {"question": item["text"].lower(), "answer": answer}
        for item, answer in zip(POPE, answers, strict=False)
    )
    return Files(
        write(folder, "said.json", lines), write(folder, "pope.json", POPE)
    )


SCENES = [("shore", "A"), ("road", "B"), ("fire", None)]


def viva(folder, said) -> Files:
    """Three situations, the last of which has no answer; `said` by place."""
    items = [
        {
            "image_url": "https://example.org/1.jpg",
            "index": number,
            "image_file": f"{number}.jpg",
            "action_list": ["A. Help.", "B. Call 112.", "C. Go on."],
            "answer": answer,
            "situation_description": name,
        }
        for number, (name, answer) in enumerate(SCENES, 1)
    ]
    predictions = [
        {
            "image_file": item["image_file"],
            "action_list": shown,
            "result": [{"prediction": text}],
        }
        for item, (shown, text) in zip(items, said, strict=True)
    ]
    return Files(
        write(folder, "said.json", predictions),
        write(folder, "VIVA_annotation.json", items),
    )


def evaluate(*arguments, before="", code=0) -> str:
    """Runs the entry point in a process of its own; returns what it says."""
    command = f"{before}import runpy; runpy.run_module("
    command += "'vlm_games.evaluate', run_name='__main__')"
    root = str(pathlib.Path(__file__).parents[1])
    found = subprocess.run(
        [sys.executable, "-c", command, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
        check=False,
    )
    assert found.returncode == code, found.stderr
    return found.stdout + found.stderr
