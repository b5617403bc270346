"""The notebooks: what a reader finds in them, and that they still run."""

import pathlib
import re

import program
import pytest

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")
pytest.importorskip("matplotlib")

import run_notebook  # noqa: E402

NOTEBOOKS = sorted((program.ROOT / "notebooks").glob("*.ipynb"))
# Where the repository is, for Colab; see notebooks/README.md.
REPOSITORY = "the_owner/vlm_games"
COLAB = f"https://colab.research.google.com/github/{REPOSITORY}/blob/main"
KB = 1_000
# Little enough for minutes; the triangle is one of the methods compared.
SMALL = (
    *program.TINY,
    "eval.choices=False",
    "triangle.images=32",
    "triangle.shard=16",
    "triangle.rows=16",
    "triangle.seeds=16",
    "triangle.tune.steps=2",
    "triangle.tune.rows.seed=4",
    "triangle.learn.steps=2",
    "triangle.learn.rows.pair=4",
    "triangle.learn.rows.seed=2",
)
SMALL_PUBLIC = (
    "play.slots=8",
    "play.turns=2",
    "encode_images=8",
    "score_rows=8",
    "game.games=16",
    "game.shard=16",
    "train.steps=2",
    "train.lora.rank=2",
    "train.rows.describer=2",
    "eval.target_images=8",
    "eval.source_images=8",
    "eval.games=8",
    "eval.rows=8",
)

each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)


def cells(path: pathlib.Path, kind: str) -> list:
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    return [cell for cell in notebook.cells if cell.cell_type == kind]


def said(notebook_cells) -> str:
    """All text that cells show, less what stands for pictures."""
    found = []
    for cell in notebook_cells:
        for output in cell.outputs:
            assert output.output_type != "error", output.evalue
            assert output.get("name") != "stderr", output.text
            data = output.get("data", {})
            texts = [v for k, v in data.items() if k.startswith("text/")]
            found += [output.get("text", ""), *texts]
    return "\n".join(found)


def assert_is_clean(text: str) -> None:
    assert not re.search(r"/(?:work|tmp|root|home|usr)/", text)
    assert not re.search(r"(?i)\bwarn(?:ing)?\b|traceback", text)


def test_there_are_four():
    assert [path.stem for path in NOTEBOOKS] == [
        "four_methods_compared",
        "self_improvement_in_ten_minutes",
        "watch_one_game",
        "your_images_your_checkpoint",
    ]


@each
def test_it_opens_in_colab_and_installs_what_is_not_there(path):
    assert (
        f"({COLAB}/notebooks/{path.name})" in cells(path, "markdown")[0].source
    )
    first = cells(path, "code")[0].source
    assert 'find_spec("vlm_games") is None' in first
    assert f"git+https://github.com/{REPOSITORY}" in first


@each
def test_it_is_short(path):
    code = cells(path, "code")
    assert len(code) + len(cells(path, "markdown")) <= 25
    assert max(len(cell.source.splitlines()) for cell in code) <= 30
    assert path.stat().st_size < 375 * KB


@each
def test_it_keeps_what_a_run_showed(path):
    code = cells(path, "code")
    assert [c.execution_count for c in code] == list(range(1, len(code) + 1))
    assert_is_clean(said(code))
    pictures = [
        output.data["image/png"]
        for cell in code
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) >= 3


@each
def test_its_links_lead_somewhere(path):
    text = "\n".join(cell.source for cell in cells(path, "markdown"))
    links = re.findall(r"\]\(([^):#]+)\)", text)
    assert links
    for link in links:
        assert (path.parent / link).exists(), link


@pytest.fixture(scope="module")
def settings(cache):
    """Of the environment."""
    return {
        "CHECKPOINT": "checkpoint",
        "IMAGES": "photos",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }


@pytest.mark.slow
@each
def test_it_runs(path, settings, tmp_path):
    run_notebook.make_folder(tmp_path)
    small = SMALL_PUBLIC if path.stem.startswith("your") else SMALL
    fields = " ".join(f"config.{field}" for field in small)
    found = run_notebook.execute(
        path, tmp_path, settings | {"VLM_GAMES_SETTINGS": fields}
    )
    assert_is_clean(said(c for c in found.cells if c.cell_type == "code"))
