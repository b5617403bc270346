"""The shipped bases: their configs, and the rows that they learned from."""

import dataclasses
import json
import pathlib
import runpy

import jax
import numpy as np
import pytest

from vlm_games.base_model import load_base
from vlm_games.data.packing import encode
from vlm_games.data.tokenizer import load_tokenizer
from vlm_games.games.choice import parse_mark
from vlm_games.games.instructions import Instructions, read_back
from vlm_games.games.prompts import Prompts
from vlm_games.models.config import VLMConfig
from vlm_games.models.mesh import make_mesh
from vlm_games.models.shipped import ASSETS
from vlm_games.models.vlm import encode_images
from vlm_games.pretraining import tasks, train
from vlm_games.pretraining.examples import Recipe
from vlm_games.pretraining.grow import grow
from vlm_games.robot import questions as robot
from vlm_games.worlds import questions as world
from vlm_games.worlds.splits import load_split

ROOT = pathlib.Path(__file__).parents[1]
CONFIGS = {
    "scenes_base": "base.py",
    "scenes_tasks": "base_tasks.py",
    "robot_base": "base_robot.py",
}
BASES = pytest.mark.parametrize("name", sorted(CONFIGS))
SPOKEN, LANGUAGE = Instructions(), tasks.Language()


def config_of(name: str):
    return runpy.run_path(str(ROOT / "configs" / CONFIGS[name]))["get_config"]()


@pytest.fixture(scope="module")
def scenes():
    return load_split("source/train", 200)[0]


def words_of(pieces) -> str:
    """What is said, less its end."""
    text = " ".join(" ".join(piece.text for piece in pieces).split())
    assert text.endswith(" <eos>")
    assert all(piece.weight for piece in pieces)
    return text.removesuffix(" <eos>")


def task_branches(scenes, agree: float = 0.0, **fields):
    """(scene, what is asked, what is said) of every exchange of many rows."""
    row = {"described": 0, "pairs": 0, "asked_for": 0, "choices": 0.0}
    wanted = tasks.Tasks(**{**row, **fields})
    rng = np.random.default_rng(0)
    found = []
    for image, scene in enumerate(scenes):
        example = tasks.task_row(
            rng, LANGUAGE, Recipe(agree=agree), wanted, scene, image
        )
        assert example.images == (image,)
        found += [
            (scene, asked.text, words_of(said))
            for asked, *said in example.branches
        ]
    return found


def told_branches(scenes, told: int, answered: int):
    """(scene, what is asked, what is said) of every exchange in words."""
    wanted = tasks.Tasks(told=told, answered=answered)
    rng = np.random.default_rng(0)
    found = []
    for scene in scenes:
        example = tasks.told_row(rng, LANGUAGE, wanted, scene)
        assert example.images == ()
        (trunk,) = example.trunk
        found += [
            (scene, trunk.text + asked.text, words_of(said))
            for asked, *said in example.branches
        ]
    return found


# Configs ----------------------------------------------------------------------


@BASES
def test_a_shipped_base_is_what_its_config_makes(name):
    tokenizer = load_tokenizer(str(ASSETS / name))
    fields = json.loads((ASSETS / name / "config.json").read_text())
    made = train.model_config(config_of(name).model, tokenizer)
    assert made == VLMConfig.from_dict(fields)


@BASES
def test_a_card_holds_the_config(name):
    card = json.loads((ASSETS / name / "card.json").read_text())
    config = json.loads(json.dumps(config_of(name).to_dict()))
    # Fields that came later have the values that change nothing.
    assert card["config"] == {k: config[k] for k in card["config"]}
    assert f"configs/{CONFIGS[name]}" in card["command"]


def test_all_bases_together_stay_small_and_speak_the_same_words():
    files = [path for path in ASSETS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 10e6
    words = [load_tokenizer(str(ASSETS / x)).hf.get_vocab() for x in CONFIGS]
    assert words[0] == words[1]
    # The robot's come behind those of the scenes.
    assert words[0].items() < words[2].items()
    assert set(robot.VOCABULARY) < set(words[2])


def test_a_grown_base_sees_an_enlarged_image_as_it_saw_the_image(base):
    old, params, _ = base
    vision = dataclasses.replace(old.vision, image_size=64, patch_size=8)
    new = dataclasses.replace(old, vision=vision, vocab_size=old.vocab_size + 5)
    grown = grow(params, old, new, jax.random.key(0))
    words = grown["embed"]["embedding"]
    np.testing.assert_array_equal(words[:-5], params["embed"]["embedding"])
    small = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    large = small.repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_allclose(
        encode_images(new, grown, large),
        encode_images(old, params, small),
        atol=1e-4,
    )


def test_a_base_of_other_widths_is_not_grown_into(base):
    old, params, _ = base
    new = dataclasses.replace(old, image_token_id=3)
    with pytest.raises(ValueError, match="differs from config.model by more"):
        grow(params, old, new, jax.random.key(0))


# Rows -------------------------------------------------------------------------


def test_every_row_is_in_the_vocabulary_and_has_its_images(scenes, base):
    config, _, tokenizer = base
    rng = np.random.default_rng(0)
    unknown = tokenizer.hf.unk_token_id
    wanted = tasks.Tasks(choices=1.0)
    for i in range(60):
        for example in (
            tasks.task_row(rng, LANGUAGE, Recipe(), wanted, scenes[i], i),
            tasks.told_row(rng, LANGUAGE, wanted, scenes[i]),
            tasks.record_row(rng, LANGUAGE, wanted, scenes[i : i + 4]),
        ):
            tokens = encode(example, tokenizer, config.tokens_per_image).tokens
            assert unknown not in tokens


def test_pairs_are_read_back_and_true(scenes):
    for scene, asked, said in task_branches(scenes, pairs=2):
        fields = read_back(SPOKEN.pair_said, said)
        question = world.BY_TEXT[fields["question"]]
        assert fields["answer"] in world.answers(question, scene)
        assert asked == f" {SPOKEN.pair[0]}"


def test_the_question_that_is_asked_for_has_that_answer(scenes):
    for scene, asked, said in task_branches(scenes, asked_for=2):
        wanted = read_back(f" {SPOKEN.ask_for[0]}", asked)["answer"]
        assert wanted in world.answers(world.BY_TEXT[said], scene)


@pytest.mark.parametrize("agree", [0.0, 1.0])
def test_questions_behind_descriptions_are_answered_as_annotators_do(
    scenes, agree
):
    template = SPOKEN.described + Prompts().question_only("{question}")
    wrong = 0
    for scene, asked, said in task_branches(scenes, agree, described=1):
        fields = read_back(template, asked)
        assert fields["description"] == world.caption(scene)
        answers = world.answers(world.BY_TEXT[fields["question"]], scene)
        if said not in answers:
            wrong += 1
            assert (said, answers) == ("yes", {"no"})
    assert bool(wrong) == bool(agree)


def check_choice(scene, fields, said) -> int:
    """That the mark said is of the right option; returns its number."""
    reply = read_back(SPOKEN.choice_said, said)
    # Where a question ends, none of its words but the last can tell.
    text, end, options = f"{fields['question']} {fields['options']}".partition(
        "? "
    )
    options = options.split()
    marks, options = options[::2], options[1::2]
    assert tuple(marks) == SPOKEN.marks[: len(marks)]
    right = parse_mark(said, marks)
    question = world.BY_TEXT[text + end.strip()]
    answers = world.answers(question, scene)
    assert [x in answers for x in options].index(True) == right
    assert sum(x in answers for x in options) == 1
    if question.yes_no:
        assert sorted(options) == ["no", "yes"]
    grounds = world.grounds(question, options[right], scene)
    assert reply["rationale"] == grounds
    return right


def test_choices_on_images_are_true_and_rest_on_what_is_there(scenes):
    found = [
        check_choice(scene, read_back(f" {SPOKEN.choice}", asked), said)
        for scene, asked, said in task_branches(scenes, choices=1.0)
    ]
    assert len(found) == len(scenes)
    assert set(found) == {0, 1, 2, 3}


def test_choices_on_images_are_few(scenes):
    found = task_branches(scenes, choices=0.2)
    assert 0.1 < len(found) / len(scenes) < 0.3


def test_told_choices_are_true_of_what_is_told(scenes):
    found = told_branches(scenes, told=2, answered=0)
    assert len(found) == 2 * len(scenes)
    for scene, asked, said in found:
        fields = read_back(SPOKEN.told, asked)
        assert fields["situation"] == world.caption(scene)
        check_choice(scene, fields, said)


def test_questions_on_what_is_told_are_answered_truly(scenes):
    template = (
        SPOKEN.described + Prompts().question_only("{question}")
    ).strip()
    found = told_branches(scenes, told=1, answered=2)
    for scene, asked, said in [x for i, x in enumerate(found) if i % 3]:
        fields = read_back(template, asked)
        assert fields["description"] == world.caption(scene)
        assert said in world.answers(world.BY_TEXT[fields["question"]], scene)


def test_records_are_read_back_with_all_their_options(scenes):
    template = SPOKEN.situation_with(tasks.OPTIONS)
    rng, right = np.random.default_rng(0), []
    for start in range(0, 200, 4):
        four = scenes[start : start + 4]
        example = tasks.record_row(rng, LANGUAGE, tasks.Tasks(), four)
        assert (example.images, example.trunk) == ((), ())
        for scene, (asked, *said) in zip(four, example.branches, strict=True):
            assert asked.text == SPOKEN.situation[0]
            fields = read_back(template, words_of(said))
            assert fields["situation"] == world.caption(scene)
            options = [fields[f"option_{i}"] for i in range(4)]
            fields = {**fields, "options": SPOKEN.list_options(options)}
            reply = f"{fields['answer']} . {fields['rationale']}"
            right.append(check_choice(scene, fields, reply))
    assert set(right) == {0, 1, 2, 3}


# Training ---------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("quick_compiles")
def test_training_on_goes_from_the_shipped_base_and_is_read_again(tmp_path):
    c = config_of("scenes_tasks")
    c.scenes, c.text_steps, c.play_steps = 40, 0, 1
    c.learning_rate, c.warmup = 1e-6, 0
    for kind in ("answer", "probe", "game", "task", "told", "record"):
        c[f"{kind}_rows"] = 1
    train.train(c, str(tmp_path))
    mesh = make_mesh(jax.devices()[:1])
    found = load_base(str(tmp_path), "float32", 0, {}, mesh)
    start = load_base(c.start, "float32", 0, {}, mesh)
    assert found.model == start.model
    size = (tmp_path / "model.safetensors").stat().st_size
    assert size < 0.6 * (ASSETS / c.start / "model.safetensors").stat().st_size
    for ours, theirs in zip(
        jax.tree.leaves(found.params),
        jax.tree.leaves(start.params),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=2**-7, atol=1e-4)
