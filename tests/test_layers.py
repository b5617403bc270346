"""Imports go down only: the floors of the package, checked by its syntax."""

import ast
import pathlib
import sys

import pytest

PACKAGE = pathlib.Path(__file__).parents[1] / "vlm_games"

# Top floor first. A module may import what lies on a lower floor, and what
# lies in its own package.
FLOORS = (
    (
        "__main__",
        "main",
        "export",
        "export_games",
        "view",
        "compare",
        "cross_source",
        "evaluate",
        "lmms_model",
        "record_aloha",
    ),
    ("side_by_side", "whole_run", "cross_measure"),
    ("report_run",),
    ("self_improve",),
    ("fine_tune",),
    ("trainer",),
    ("replay", "exporting", "viewing"),
    ("workbench", "respondent"),
    ("planning",),
    ("choices", "base_model", "set_maker"),
    ("methods", "evaluation"),
    ("pretraining",),
    ("games", "hub"),
    ("sampling", "training", "report", "robot"),
    ("models", "data", "worlds", "preemption", "progress"),
    ("host_watch",),
    ("hosts", "config_fields"),
    ("command_line",),
)
# The one neighbour that may be looked at: rendered scenes are image sources.
SIDEWAYS = {("data", "worlds")}


def floor_of(part: str) -> int:
    for height, parts in enumerate(reversed(FLOORS)):
        if part in parts:
            return height
    raise AssertionError(
        f"vlm_games.{part} stands on no floor; give it one in FLOORS of "
        "tests/test_layers.py"
    )


def imported_modules(source: str, module: str, is_package: bool) -> list[str]:
    """Full dotted names that `source` imports, anywhere in it.

    For "from a import b" that is a.b, be b a module or not: what counts here
    is the second part of the name.
    """
    found = []
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:  # each dot after the first goes up one package
                parts = package.split(".")
                start = parts[: len(parts) - (node.level - 1)]
                base = ".".join(start + ([base] if base else []))
            found += [f"{base}.{alias.name}" for alias in node.names]
    return found


def violations(source: str, module: str, is_package: bool = False) -> list[str]:
    """Imports of `module` that go up, or sideways into another package."""
    parts = module.split(".")
    if len(parts) == 1:  # vlm_games/__init__.py: beneath everything
        own, height = None, -1
    else:
        own, height = parts[1], floor_of(parts[1])
    wrong = []
    for name in imported_modules(source, module, is_package):
        root, _, rest = name.partition(".")
        part = rest.partition(".")[0]
        if root != "vlm_games" or part in ("", "__version__", own):
            continue
        if (own, part) not in SIDEWAYS and floor_of(part) >= height:
            wrong.append(f"{module} imports {name}")
    return wrong


def modules() -> dict[str, pathlib.Path]:
    """Dotted name -> file, of the whole package."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


def test_the_package_is_found():
    assert {"vlm_games", "vlm_games.data.images"} <= set(modules())


@pytest.mark.parametrize("module", modules())
def test_module_imports_only_what_lies_below(module):
    path = modules()[module]
    source = path.read_text(encoding="utf-8")
    assert violations(source, module, path.name == "__init__.py") == []


@pytest.mark.parametrize("module", [m for m in modules() if ".worlds" in m])
def test_worlds_need_numpy_alone(module):
    path = modules()[module]
    source = path.read_text(encoding="utf-8")
    roots = {
        name.partition(".")[0]
        for name in imported_modules(source, module, path.name == "__init__.py")
    }
    assert roots <= {"numpy", "vlm_games"} | sys.stdlib_module_names


# The checker itself ----------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("vlm_games.models.vlm", "import vlm_games.games.game"),
        ("vlm_games.models.vlm", "from vlm_games.games import game"),
        ("vlm_games.models.vlm", "from vlm_games import games"),
        ("vlm_games.models.vlm", "from ..games import game"),
        ("vlm_games.models.vlm", "from .. import games"),
        ("vlm_games.models.vlm", "def f():\n  from ..games.game import play"),
        ("vlm_games.models.vlm", "from vlm_games.data import images"),
        ("vlm_games.worlds.scenes", "from vlm_games.data import images"),
        ("vlm_games.report.html", "from vlm_games.training import step"),
        ("vlm_games.games.play", "from ..self_improve import run"),
        ("vlm_games.self_improve", "from vlm_games import main"),
        ("vlm_games.self_improve", "from .main import run"),
        ("vlm_games", "from vlm_games.models import vlm"),
    ],
)
def test_checker_sees_imports_that_do_not_go_down(module, source):
    package = module == "vlm_games"
    assert len(violations(source, module, package)) == 1


def test_checker_resolves_dots_of_a_package_from_the_package_itself():
    source = "from . import vlm\nfrom ..games import game"
    assert violations(source, "vlm_games.models", is_package=True) == [
        "vlm_games.models imports vlm_games.games.game"
    ]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("vlm_games.main", "from vlm_games import self_improve"),
        ("vlm_games.games.play", "from vlm_games.sampling import generate"),
        ("vlm_games.games.play", "from . import prompts"),
        ("vlm_games.games.play", "from .prompts import ask"),
        ("vlm_games.games.play", "import jax\nimport vlm_games"),
        ("vlm_games.data.images", "from vlm_games.worlds import splits"),
        ("vlm_games.report.html", "from vlm_games import __version__"),
    ],
)
def test_checker_lets_imports_that_go_down_pass(module, source):
    assert violations(source, module) == []


def test_checker_asks_for_a_floor_for_a_new_package():
    with pytest.raises(AssertionError, match="stands on no floor"):
        violations("", "vlm_games.helpers.misc")
