"""Flags, configs and help as a user meets them, without starting a run."""

import pathlib
import re
import subprocess
import sys

import pytest

from vlm_games import choices, command_line, config_fields
from vlm_games.__main__ import commands

ROOT = pathlib.Path(__file__).parents[1]
CONFIGS = ROOT / "configs"


def test_a_bare_name_a_repository_path_and_a_file_are_the_same_config(tmp_path):
    own = tmp_path / "mine.py"
    own.write_text((CONFIGS / "scenes.py").read_text())
    found = [
        command_line.load_config(named).to_dict()
        for named in ("scenes", "configs/scenes.py", str(own))
    ]
    assert found[0] == found[1] == found[2]


def test_an_argument_stays_behind_the_name():
    found = command_line.load_config("compare:stic", ["config.seed=7"])
    assert (found.method, found.seed) == ("stic", 7)


@pytest.mark.parametrize(
    ("named", "overrides", "words"),
    [
        ("sceens", [], "did you mean 'scenes'.*Known are base"),
        ("scenes", ["config.gmae.games=3"], "no field 'gmae'.*'game'"),
        ("scenes", ["config.game.gaems=3"], "config.game has.*'games'"),
        ("scenes", ["config.train.rows.gueser=3"], "train.rows has.*'guesser'"),
        ("scenes", ["config.game.games.x=3"], "is 640 and has no fields"),
        ("scenes", ["config.game.games=many"], "=many: expected int.* 640"),
        ("scenes", ["config.game.credit=no"], "=no: expected float.* 0.3"),
        ("scenes", ["config.play.cut=perhaps"], "expected bool.* False"),
        ("compare:stik", [], "no entry 'stik'.*stic"),
    ],
)
def test_what_is_wrong_with_a_config_is_said_with_the_nearest(
    named, overrides, words
):
    with pytest.raises(ValueError, match=f"(?s){words}"):
        command_line.load_config(named, overrides)


def change(path: str, value):
    """The default config, with a field set as a config file can set it."""
    config = command_line.load_config("scenes").unlock()
    *parts, name = path.split(".")
    there = config
    for part in parts:
        there = there[part]
    there[name] = value
    return config


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("game.gaems", 3, "config.game has no field 'gaems'.*'games'"),
        ("stic.prefer.bata", 3.0, "config.stic.prefer has no field.*'beta'"),
        ("prompts.questoin", "x", "config.prompts has no field.*did you mean"),
    ],
)
def test_what_a_config_file_sets_is_held_against_the_default(
    path, value, words
):
    with pytest.raises(ValueError, match=words):
        choices.check_fields(change(path, value))


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"a": 1.5}, "config.a=1.5 is a float; expected int, such as 3"),
        ({"a": True}, "config.a=True is a bool; expected int"),
        ({"b": "x"}, "config.b='x' is a str; expected tuple"),
        ({"c": 3}, "config.c=3 is a int; expected dict"),
        ({"c": {"d": 1}}, "config.c.d=1 is a int; expected bool"),
    ],
)
def test_a_type_that_is_wrong_is_said_with_the_default(found, words):
    like = {"a": 3, "b": ("x",), "c": {"d": False}}
    with pytest.raises(ValueError, match=words):
        config_fields.check(like | found, like)
    config_fields.check(like | {"b": ["y", "z"]}, like)


def test_a_field_that_a_config_file_lacks_is_named():
    config = command_line.load_config("scenes").unlock()
    del config.eval.rows
    with pytest.raises(ValueError, match="config.eval lacks the field 'rows'"):
        choices.check_fields(config)


@pytest.mark.parametrize(
    "path",
    [
        *(
            f"{p.stem}"
            for p in sorted(CONFIGS.glob("*.py"))
            if "base" not in p.stem
            and p.stem
            not in ("compare", "public", "triangle_sweep", "cross_source")
        ),
        "compare:stic",
        "triangle_sweep:top_5",
        "cross_source:run",
    ],
)
def test_every_config_of_ours_has_the_default_fields(path):
    config = command_line.load_config(path)
    choices.check_fields(config)
    choices.check_numbers(config)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("train.steps", -3, "config.train.steps=-3: .* 1 or more"),
        ("train.learning_rate", -1.0, "learning_rate=-1.0: .* above 0"),
        ("train.rows.guesser", -1, "config.train.rows.guesser=-1"),
        ("game.games", 0, "config.game.games=0: expected a number 1 or more"),
        ("game.images", 1, "config.game.images=1: .* 2 or more"),
        ("game.asks_all", 1.5, "config.game.asks_all=1.5: .* from 0 to 1"),
        ("play.guesser_temperature", float("nan"), "temperature=nan"),
        ("stic.prefer.steps", 0, "config.stic.prefer.steps=0"),
    ],
)
def test_a_number_without_sense_is_refused_with_its_field(path, value, words):
    with pytest.raises(ValueError, match=words):
        choices.check(change(path, value))


@pytest.mark.parametrize("path", ["image_cache", "game.set_file"])
def test_what_can_lie_in_no_bucket_is_refused_with_its_field(path):
    with pytest.raises(ValueError, match=f"config.{path}=gs://bucket/a: "):
        choices.check(change(path, "gs://bucket/a"))


def test_every_range_is_of_a_field_that_there_is():
    config = command_line.load_config("scenes")
    tables = ((choices.RANGES, config), (choices.TRAIN_RANGES, config.train))
    for table, there in tables:
        for name in [x for names in table.values() for x in names]:
            found = there
            for part in name.split("."):
                found = found[part]


def test_every_command_is_listed_and_stands_in_the_documents():
    listed = commands()
    table = (ROOT / "docs" / "command-line.md").read_text()
    assert {"vlm_games.main", "vlm_games.pretraining.train"} <= set(listed)
    for name, about in listed.items():
        assert about.endswith(".") and f"| `python -m {name}` |" in table


def test_a_word_of_a_flag_is_told_with_the_nearest():
    told = command_line.explain(
        "flag --format=parkett: value should be one of <parquet|dpo>", None
    )
    assert told == (
        "--format=parkett: did you mean 'parquet'? Known are parquet, dpo."
    )


def ask(*command: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        "-m vlm_games.main",
        "-m vlm_games.compare",
        "-m vlm_games.cross_source",
        "-m vlm_games.evaluate",
        "-m vlm_games.export",
        "-m vlm_games.export_games",
        "-m vlm_games.pretraining.train",
        "-m vlm_games.view",
        *(
            f"benchmarks/{p.name}"
            for p in sorted((ROOT / "benchmarks").glob("*.py"))
        ),
    ],
)
def test_help_has_an_example_and_the_commands_own_flags(command):
    done = ask(*command.split(), "--help")
    assert done.returncode == 0 and not done.stderr, done.stderr
    example, own = done.stdout.split("Flags:")
    assert f"python {command}" in example
    listed = re.findall(r"^  --", own, re.MULTILINE)
    assert 1 < len(listed) < 20
    assert "pdb" not in own and max(map(len, own.splitlines()[:-3])) <= 80


@pytest.mark.slow
def test_a_wrong_flag_is_an_error_without_a_trace():
    done = ask("-m", "vlm_games.main", "--config=scenes", "--wrokdir=/tmp/x")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "Did you mean: workdir" in done.stderr
