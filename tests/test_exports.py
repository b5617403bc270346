"""What a run learned from, in the formats of others, and back."""

import json

import made_run
import numpy as np
import pytest

from vlm_games.data.examples import IMAGE
from vlm_games.exporting import formats
from vlm_games.exporting.conversations import (
    Message,
    plain_prompts,
    to_examples,
    to_rows,
)
from vlm_games.exporting.gather import Export
from vlm_games.games.prompts import Prompts
from vlm_games.games.protocol import GameSettings
from vlm_games.methods import choose, game_pairs

RULES = GameSettings(turns=4)
NAMES = [f"folder/{i}.jpg" for i in range(made_run.IMAGES)]
ANSWERS = [(1, "is there a ring ?", "no"), (1, "is it red ?", "yes")]


def likelihood(prompts) -> dict:
    """Examples of both seats, of a free game and of one that must ask."""
    kept = [g for g in made_run.games(1) if g.kept]
    return {
        "describer": choose.describer_examples(ANSWERS, prompts),
        "guesser": [
            choose.guesser_example(g, prompts, RULES, must_ask=bool(g.game))
            for g in kept
        ],
    }


def pairs(prompts) -> dict:
    record, config = made_run.games(1)[0], made_run.make_config()
    return {
        "guesser": [game_pairs.guess_pair(record, prompts, config)],
        "describer": [game_pairs.answer_pair(ANSWERS[0], "yes", prompts)],
    }


def make_export(of_pairs: bool) -> Export:
    make = pairs if of_pairs else likelihood
    own, plain = make(Prompts()), make(plain_prompts())
    rows = [
        row
        for stream in own
        for row in to_rows(stream, own[stream], plain[stream], NAMES, of_pairs)
    ]
    rng = np.random.default_rng(0)
    pixels = {
        i: rng.integers(0, 256, (6, 8, 3), np.uint8)
        for i in range(made_run.IMAGES)
    }
    facts = ("method", "arm", "iteration", "filter", "base", "base_sha256")
    provenance = {name: f"the {name}" for name in facts} | {
        "images": "12 | images",
        "images_digest": "d",
        "pictures": 12,
        "code": "vlm_games 1",
        "rows": {stream: len(found) for stream, found in own.items()},
        "config": {"seed": 0},
    }
    return Export(rows, of_pairs, pixels, provenance)


@pytest.mark.parametrize("name", formats.FORMATS)
def test_importing_back_gives_the_same_examples(name, tmp_path):
    if name in ("parquet", "dpo"):
        pytest.importorskip("pyarrow")
    found = make_export(formats.FORMATS[name].pairs)
    formats.write(found, name, tmp_path / "out")
    back = formats.read(tmp_path / "out")
    make = pairs if found.pairs else likelihood
    assert back.examples == make(Prompts())
    assert back.provenance == {"format": name, **found.provenance}
    assert back.pixels
    for number, pixels in back.pixels.items():
        np.testing.assert_array_equal(pixels, found.pixels[number])


def test_a_game_becomes_turns_of_user_and_assistant():
    free, must_ask = (
        [m for m in row.messages]
        for row in make_export(False).rows
        if row.stream == "guesser"
    )
    for found, guess in ((free, "2"), (must_ask, "4")):
        assert [m.role for m in found] == ["user", "assistant"] * 3
        assert found[0].text.count(IMAGE) == 4
        assert found[1].text == "1 yes\nQuestion: is there a red object ?"
        assert found[2].text.startswith("The answer is: ")
        assert found[5] == Message("assistant", f"2 yes\nGuess: {guess}", 1.0)
    assert [m.weight for m in free] == [0, 0.3, 0, 0.3, 0, 1.0]


def test_each_question_about_an_image_is_a_row_of_its_own():
    first, second = (
        r for r in make_export(False).rows if r.stream == "describer"
    )
    assert first.names == ("folder/1.jpg",)
    assert [m.text for m in first.messages] == [
        f"{IMAGE}\nQuestion: is there a ring ? Answer in one or two words.",
        "no",
    ]
    assert (first.key, second.key) == (
        "describer/000000/0",
        "describer/000000/1",
    )


def test_what_is_taken_out_is_missing_and_nothing_else():
    rows = make_export(False).rows
    (found,) = to_examples([rows[1]])["describer"]
    (whole,) = choose.describer_examples(ANSWERS, Prompts())
    assert found.branches == whole.branches[1:]


def test_the_rival_of_a_guess_is_the_image_believed_next():
    (row,) = (r for r in make_export(True).rows if r.stream == "guesser")
    assert row.messages[-1].text.endswith("Guess: 2")
    assert row.rejected.endswith("Guess: 3")


def test_the_rival_of_an_answer_is_of_the_same_image_where_there_is_one():
    rivals = game_pairs.Rivals(made_run.games(1))
    rng = np.random.default_rng(0)
    red = "is there a red object ?"
    # Game 1 said no of image 1 and was dropped; of image 4 nobody else spoke.
    assert rivals.draw((1, red, "yes"), rng) == "no"
    assert rivals.draw((4, red, "no"), rng) == "yes"
    assert rivals.draw((4, "is there a cross ?", "no"), rng) is None


def test_parquet_has_the_columns_that_trl_looks_for(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    for name, wanted in (
        ("parquet", {"messages"}),
        ("dpo", {"prompt", "chosen", "rejected"}),
    ):
        formats.write(make_export(name == "dpo"), name, tmp_path / name)
        table = parquet.read_table(tmp_path / name / "train.parquet")
        assert wanted | {"images", "image_ids"} <= set(table.column_names)
        info = json.loads(table.schema.metadata[b"huggingface"])["info"]
        assert set(info["features"]) == set(table.column_names)


def test_llava_names_the_files_of_its_images(tmp_path):
    formats.write(make_export(False), "llava", tmp_path / "out")
    one, _, game, _ = json.loads((tmp_path / "out/train.json").read_text())
    assert one["image"] == "images/000001.png"
    assert len(game["image"]) == 4
    turns = [x["from"] for x in game["conversations"]]
    assert turns == ["human", "gpt"] * 3
    assert all((tmp_path / "out" / x).is_file() for x in game["image"])


def test_the_card_tells_where_it_is_from(tmp_path):
    formats.write(make_export(False), "llava", tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    for fact in ("the filter", "the iteration", "the base_sha256", "12 \\| im"):
        assert fact in card


def test_what_broke_off_is_no_export(tmp_path):
    formats.write(make_export(False), "llava", tmp_path / "out")
    (tmp_path / "out" / "provenance.json").unlink()
    with pytest.raises(FileNotFoundError, match="broke off"):
        formats.read(tmp_path / "out")


def test_nothing_is_written_over(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="not empty"):
        formats.write(make_export(False), "llava", tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
