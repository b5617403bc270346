"""Models that are asked the questions of benchmarks."""

import json
import pathlib
import shutil

import numpy as np
import pytest
from benchmark_files import evaluate, write
from PIL import Image
from reference import common

import vlm_games
from vlm_games.data.decode import UnreadableImageError
from vlm_games.evaluation.benchmarks.benchmark import Question
from vlm_games.evaluation.questions import draw_items
from vlm_games.games.instructions import chat_instructions
from vlm_games.games.prompts import Prompts
from vlm_games.respondent import load_respondent, wording
from vlm_games.worlds.splits import load_split

IMAGES = 4
slow = pytest.mark.slow


def test_a_question_is_worded_by_its_style_or_as_one_likes():
    choice = Question(1, "Which?", (), "choice", ("cat", "dog"))
    spoken = chat_instructions()
    assert wording(choice, spoken, "Say one letter.") == (
        "Which?\nA. cat\nB. dog\nSay one letter."
    )
    assert wording(choice, spoken, None).startswith("Which?\nA. cat\nB. dog\n")
    yes_no = Question(1, "Is it?", (), "yes_no")
    assert wording(yes_no, spoken, None) == "Is it?\nAnswer yes or no."
    assert wording(yes_no, spoken, "") == "Is it?"
    assert wording(Question(1, "What?", (), "open"), spoken, None) == "What?"


def test_several_images_are_numbered_before_the_question():
    assert Prompts().compare("which ?", 2) == (
        "image 1 <image> image 2 <image> which ?"
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images of the shipped world, as files."""
    there = tmp_path_factory.mktemp("images")
    for number, pixels in enumerate(load_split("source/validation", IMAGES)[1]):
        Image.fromarray(pixels).save(there / f"{number}.png")
    return there


@pytest.fixture(scope="module")
def items():
    return draw_items(load_split("source/validation", IMAGES)[0], 0)


@slow
@pytest.mark.usefixtures("quick_compiles")
class TestOwn:
    """The shipped bases, in their own few words."""

    @pytest.fixture(scope="class")
    def respondent(self):
        return load_respondent("scenes_tasks", "float32", 8)

    def test_it_answers_about_the_right_image(self, respondent, folder, items):
        questions = [
            Question(i, x.question.text, (f"{x.image}.png",), "yes_no")
            for i, x in enumerate(items)
            if x.question.yes_no
        ][:16]
        said = []
        for start in (0, 8):
            said += respondent.say(questions[start : start + 8], folder, 4)
        right = [items[x.key].answer for x in questions]
        assert set(right) == {"yes", "no"}
        matches = [a == b for a, b in zip(said, right, strict=True)]
        assert np.mean(matches) > 0.8

    def test_its_marks_become_letters(self, respondent, folder):
        options = ("red", "blue", "green", "yellow")
        asked = Question(0, "what color ?", ("0.png",), "choice", options)
        (said,) = respondent.say([asked], folder, 4)
        assert said in "ABCD"

    def test_images_may_be_two_or_none_or_bytes(self, respondent, folder):
        content = (folder / "1.png").read_bytes()
        questions = [
            Question(0, "which ?", ("0.png", "1.png")),
            Question(1, "is there a ring ?", (content,)),
            Question(2, "is there a ring ?", ("1.png",)),
            Question(3, "is there a ring ?"),
        ]
        said = respondent.say(questions, folder, 4)
        assert said[1] == said[2]
        assert len(said) == 4
        assert len(respondent.say(questions[3:], folder, 4)) == 1

    def test_an_image_that_is_missing_or_broken_is_named(
        self, respondent, folder
    ):
        with pytest.raises(FileNotFoundError, match="no image .*9.png"):
            respondent.say([Question(0, "what ?", ("9.png",))], folder, 4)
        with pytest.raises(UnreadableImageError, match="in the table"):
            respondent.say([Question(0, "what ?", (b"no",))], folder, 4)

    def test_the_entry_point_asks_and_scores(self, folder, items, tmp_path):
        lines = tuple(
            {
                "question_id": i,
                "image": f"{x.image}.png",
                "text": x.question.text,
                "label": x.answer,
            }
            for i, x in enumerate(items)
            if x.question.yes_no
        )
        path = write(tmp_path, "pope.json", lines)
        evaluate(
            "--benchmark=pope",
            "--base=",
            "--dtype=float32",
            f"--images={folder}",
            f"--annotations={path}",
            f"--predictions={tmp_path}/p.jsonl",
            f"--submission={tmp_path}/owners.json",
            f"--output={tmp_path}/scores.json",
        )
        found = json.loads((tmp_path / "scores.json").read_text())
        assert found["items"] == len(lines)
        assert found["overall"] > 80
        owners = (tmp_path / "owners.json").read_text().splitlines()
        asked = [json.loads(line)["question"] for line in owners]
        assert asked == [x["text"] for x in lines]


@slow
@pytest.mark.usefixtures("quick_compiles")
def test_a_public_checkpoint_is_asked_through_its_own_processor(
    folder, tmp_path
):
    there = tmp_path / "llava"
    shutil.copytree(common.FOLDER / "llava", there)
    common.write_weights(there)
    respondent = load_respondent(str(there), "float32", 2)
    asked = Question(0, "what color ?", ("0.png", "1.png"), "open")
    (said,) = respondent.say([asked], folder, 6)
    images = [
        {"type": "image", "image": str(pathlib.Path(folder) / x)}
        for x in asked.images
    ]
    text = {"type": "text", "text": "what color ?"}
    talk = [{"role": "user", "content": [*images, text]}]
    model = vlm_games.load_pretrained(there, dtype="float32")
    # Two, as the respondent fills its batch up: nothing is compiled anew.
    assert said == model.generate([talk, talk], 6)[0]
