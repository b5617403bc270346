"""What the documents say can be done, done: examples, code and links."""

import doctest
import importlib
import pathlib
import re
import runpy
import sys
import types

import numpy as np
import pytest

from vlm_games import choices
from vlm_games.data.packing import encode
from vlm_games.data.tokenizer import word_tokenizer
from vlm_games.games import questionnaire
from vlm_games.games.answer import Answer
from vlm_games.games.filters import Evidence
from vlm_games.games.prompts import Prompts, prompt_words
from vlm_games.games.protocol import (
    Exchange,
    GameSettings,
    GameSpec,
    PlayedGame,
)
from vlm_games.methods.dialog_games import Prepared
from vlm_games.workbench import stratum
from vlm_games.worlds import questions as world

ROOT = pathlib.Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
# Also the Markdown that is read beside the code and is no part of the site.
LINKING = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]
TITLED = re.compile(r'^```python title="(.+?)"\n(.*?)^```$', re.M | re.S)


def having_examples(paths):
    return [p for p in paths if ">>> " in p.read_text(encoding="utf-8")]


# Examples ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    having_examples(sorted((ROOT / "vlm_games").rglob("*.py"))),
    ids=lambda p: p.stem,
)
def test_examples_in_docstrings_give_what_they_say(path):
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted and not found.failed


@pytest.mark.parametrize("path", having_examples(PAGES), ids=lambda p: p.stem)
def test_examples_in_pages_give_what_they_say(path):
    found = doctest.testfile(str(path), module_relative=False)
    assert found.attempted and not found.failed


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_what_the_code_of_a_page_imports_is_there(page):
    text = page.read_text(encoding="utf-8")
    found = re.findall(
        r"^from (vlm_games\S*) import (?:\(([^)]*)\)|(.+))$", text, re.M
    )
    new = {f"vlm_games.methods.{name}" for name in ("topics", "twice")}
    for module, several, one in found:
        if module not in new:
            names = (several or one).replace(",", " ").split()
            exec(f"from {module} import {', '.join(names)}", {})


# How-tos ----------------------------------------------------------------------


def blocks(page: str) -> dict[str, str]:
    """Title -> code of a how-to's blocks; such as "<file>: in <table>"."""
    return dict(TITLED.findall((ROOT / "docs/howto" / page).read_text()))


def edited(page: str, path: str) -> types.ModuleType:
    """The module as it is once the page's additions were made to the file."""
    source = (ROOT / path).read_text()
    for title, code in blocks(page).items():
        file, _, place = title.partition(": ")
        where, _, table = place.partition(" ")
        if file != path or not place:
            continue
        head = re.search(rf"^{table}\b.*= {{\n", source, re.M)
        assert head is not None, f"{path} has no table {table}"
        at = {"above": head.start(), "in": head.end()}[where]
        source = source[:at] + code + source[at:]
    return as_module("edited", source)


def as_module(name: str, source: str) -> types.ModuleType:
    """A module made from its text; dataclasses look themselves up in it."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    exec(compile(source, name, "exec"), module.__dict__)
    return module


@pytest.fixture
def added():
    """Makes the new file of a page; it can be imported while the test runs."""
    names = []

    def add(page: str, path: str) -> types.ModuleType:
        name = path.removesuffix(".py").replace("/", ".")
        names.append(name)
        return as_module(name, blocks(page)[path])

    yield add
    for name in [*names, "edited"]:
        sys.modules.pop(name, None)


def game(target: int = 1) -> PlayedGame:
    said = Exchange("is it red ?", "yes", "", -1.0, -0.1)
    return PlayedGame(GameSpec(0, (7, 8), target), (said,), "", target, None)


def test_the_new_filter_judges_beside_the_others(added):
    filters = edited("new-filter.md", "vlm_games/games/filters.py")
    sure, unsure = np.log([[0.01, 0.9]]), np.log([[0.4, 0.6]])
    for views, passed in ((sure, True), (unsure, False), (sure[:0], False)):
        verdicts = filters.verdicts(Evidence(game(), views=views))
        assert verdicts["confident"] is passed
    assert "confident" not in filters.verdicts(Evidence(game()))


def config_of(page: str, name: str, folder: pathlib.Path):
    """The config file of a page, made beside configs/scenes.py."""
    for path in (f"configs/{name}.py", "configs/scenes.py"):
        text = blocks(page).get(path) or (ROOT / path).read_text()
        (folder / pathlib.Path(path).name).write_text(text)
    return runpy.run_path(str(folder / f"{name}.py"))["get_config"]()


def test_the_quiz_is_a_config_that_a_run_accepts(tmp_path):
    config = config_of("new-game.md", "quiz", tmp_path)
    choices.check(config)
    assert all(q in world.BY_TEXT for q in config.play.questions)
    GameSettings(**config.play)


def bench(config=None):
    """As much of a workbench as a method needs that asks no model."""
    prompts = Prompts()
    words = [*prompt_words(prompts, 4), *" ".join(world.BY_TEXT).split(), "red"]
    return types.SimpleNamespace(
        config=config,
        engine=None,
        images=[np.zeros((4, 4, 3), np.uint8)] * 5,
        prompts=prompts,
        stratum=stratum,
        table=types.SimpleNamespace(
            engine=types.SimpleNamespace(shards=1),
            tokenizer=None,
            prompts=prompts,
            settings=GameSettings(turns=2, guess="likelihood"),
        ),
        tokenizer=word_tokenizer(words),
        truth=lambda image, question, answer: answer == "yes",
    )


def test_in_the_new_game_all_questions_are_of_one_topic(added, monkeypatch):
    module = added("new-game.md", "vlm_games/methods/topics.py")
    registry = edited("new-game.md", "vlm_games/methods/registry.py")
    assert registry.METHODS["topics"] is module.Topics

    def answer(engine, tokenizer, role, prompts, *settings):
        return [Answer("yes", True, -0.1, 2) for _ in prompts]

    monkeypatch.setattr(questionnaire, "answer", answer)
    method = object.__new__(module.Topics)
    method.bench = bench()
    specs = [GameSpec(number, (0, 1), 0) for number in range(4, 9)]
    prepared = Prepared(None, None, (), None, (), None)
    played = list(method.play_games(None, prepared, specs, (0, 1)))
    assert {g.spec.game for g in played} == set(range(4, 9))
    for one in played:
        asked = {x.question for x in one.exchanges}
        assert asked == set(module.TOPICS[one.spec.game % 2])


@pytest.fixture
def twice(added, tmp_path, monkeypatch):
    """The new method, its records, and what its model says: yes, no or red."""
    module = added("new-method.md", "vlm_games/methods/twice.py")
    registry = edited("new-method.md", "vlm_games/methods/registry.py")
    assert registry.METHODS["twice"] is module.Twice
    config = config_of("new-method.md", "twice", tmp_path)
    config.twice.questions = 60

    def answer(
        engine, tokenizer, role, prompts, limit, temperature, seed, told
    ):
        told(len(prompts))
        rng = np.random.default_rng(seed)
        words = rng.choice(["yes", "no", "red"], len(prompts))
        return [Answer(str(word), True, -0.1, 2) for word in words]

    monkeypatch.setattr(module, "answer", answer)
    method = module.Twice(bench(config))
    return method, method.candidates(None, None, 1, 0)


def test_the_new_method_keeps_what_was_said_twice(twice):
    method, records = twice
    assert all(r.kept == (r.first == r.second) for r in records)
    assert 0 < sum(r.kept for r in records) < len(records) == 60
    for record in records:
        assert method.record.from_json(record.to_json()) == record
    counts: list[int] = []
    assert method.candidates(None, None, 1, 0, counts.append) == records
    assert counts == [60] == [method.count]


def test_the_new_methods_control_learns_from_as_many(twice):
    method, records = twice
    main = method.select(records, "main", 1, None)
    kept = sum(r.kept for r in records)
    assert main.kept == kept
    assert main.figures["filters"]["twice"]["kept"] == kept
    for arm, count in (("any", kept), ("replay_only", 0)):
        chosen = method.select(records, arm, 1, main.budget)
        assert len(chosen.stages[0].examples(None)["answer"]) == count
    length = method.config.learn.lengths.answer
    for example in main.stages[0].examples(None)["answer"]:
        packed = encode(example, method.bench.tokenizer, 4)
        assert len(packed.tokens) <= length
    assert len(method.show(records, 1, 3)) == 6
    picture = method.show(records, 1, 1)[0].pictures[0]
    assert picture.draw().shape == (4, 4, 3)


# The site ---------------------------------------------------------------------


@pytest.mark.parametrize("page", LINKING, ids=lambda p: p.stem)
def test_links_and_pictures_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)|src=\"([^\":]+)\"", text)
    for link in (a or b for a, b in found):
        assert (page.parent / link).exists(), f"{page} links to {link}"


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_asks_no_other_host(tmp_path):
    commands = pytest.importorskip("mkdocs.commands.build")
    config = importlib.import_module("mkdocs.config")
    commands.build(
        config.load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path))
    )
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) >= len(PAGES)
    for page in pages:
        loaded = re.findall(
            r'<(?:script|img|link rel="(?:stylesheet|preconnect)")'
            r'[^>]* (?:src|href)="(https?:[^"]+)',
            page.read_text(encoding="utf-8"),
        )
        assert not loaded, f"{page.name} loads {loaded}"
