"""The viewer over runs whose candidates are no games."""

import dataclasses

import made_run
import numpy as np
import pytest

from vlm_games.data.png import from_png
from vlm_games.methods import corrupt, stic

pytest.importorskip("uvicorn")
pytest.importorskip("starlette")

from test_view import Site  # noqa: E402

from vlm_games.viewing.app import make_app  # noqa: E402
from vlm_games.viewing.run_folder import RunFolder  # noqa: E402


@pytest.fixture(scope="module")
def open_site(tmp_path_factory):
    """Opens the viewer over a made run of a method, once."""
    found: dict[str, Site] = {}

    def site(method: str) -> Site:
        if method not in found:
            config = made_run.make_config(method=method)
            config.controls = ()
            root = tmp_path_factory.mktemp(method)
            made_run.make_run(root, config)
            found[method] = Site(make_app(RunFolder(root)))
        return found[method]

    yield site
    for one in found.values():
        one.close()


def shown(page: str) -> list[tuple[int, int]]:
    """(iteration, line) of the cards."""
    return [
        (i, k)
        for i in (1, 2)
        for k in range(11)
        if f'href="/candidates/main/{i}/0/{k}"' in page
    ]


@pytest.mark.parametrize(
    ("method", "query", "lines"),
    [
        ("stic", "iteration=1", [(1, 0), (1, 1), (1, 2), (1, 3)]),
        ("stic", "kept=no", [(1, 3), (2, 3)]),
        ("stic", "iteration=1&word=BLURRED", [(1, 1), (1, 3)]),
        ("stic", "iteration=2&word=green", [(2, 2)]),
        ("stic", "word=gree", []),
        # The best fifth of those that were read, so many of each answer.
        ("triangle", "iteration=1&kept=yes", [(1, 8), (1, 9)]),
        ("triangle", "iteration=1&word=read", [(1, 10)]),
        ("text", "iteration=1&kept=no", [(1, 1), (1, 2)]),
        ("text", "iteration=1&word=cross", [(1, 0), (1, 1)]),
        ("text", "iteration=1&word=unreadable", [(1, 2)]),
    ],
)
def test_the_gallery_shows_what_is_asked_for(open_site, method, query, lines):
    page = open_site(method).text(f"/candidates?{query}")
    assert shown(page) == lines
    assert f"{len(lines)} of " in page


@pytest.mark.parametrize(
    ("method", "line", "words"),
    [
        (
            "stic",
            1,
            ("Pair 1 ", "kept: against a blurred view", "a blue ring .", "−2.5")
            + ("chosen.truths", "as it is"),
        ),
        ("triangle", 9, ("kept: score 0.90 among color", "question again")),
        ("triangle", 0, ("dropped: score 0.00", "what color is it ?")),
        ("text", 0, ("the ring is red .", "3 green", "0, 0")),
        ("text", 1, ("dropped: another answer when asked again", "1, –")),
    ],
)
def test_one_is_shown_with_all_that_its_record_holds(
    open_site, method, line, words
):
    page = open_site(method).text(f"/candidates/main/1/0/{line}")
    for found in words:
        assert found in page


def test_pictures_are_what_the_model_saw(open_site):
    site = open_site("stic")
    assert site.text("/candidates/main/1/0/0").count("<img") == 1
    run = RunFolder(site.text("/").partition("stic · ")[2].partition("<")[0])
    # Recoloured as the run's own draws tell.
    drawn = stic.draw(run, 2, 5, 1)
    drawn = dataclasses.replace(drawn, source="recoloured")
    clean = run.images[5]
    (spoilt,) = corrupt.corrupt(clean[None], [drawn], 8)
    assert (spoilt != clean).any()
    for number, expected in enumerate((clean, spoilt)):
        _, _, body = site.ask(f"/candidates/main/1/0/2/{number}.png")
        np.testing.assert_array_equal(from_png(body), expected)
    assert site.ask("/candidates/main/1/0/2/2.png")[0] == 404


@pytest.mark.parametrize("method", ["stic", "triangle", "text"])
def test_text_of_a_candidate_is_never_markup(open_site, method):
    for path in ("", "/main/1/0/0", "/main/1/0/2", "/main/1/0/10"):
        _, _, body = open_site(method).ask(f"/candidates{path}")
        assert b"<script>alert" not in body and b"style=" not in body
    whole = open_site(method).text("/candidates")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in whole


def test_what_may_still_change_is_said(open_site):
    """The second iteration is under way, the first one is measured."""
    site = open_site("triangle")
    assert "iteration 2 is under way" in site.text("/candidates")
    assert "under way" not in site.text("/candidates?iteration=1")
    assert "1 shards of candidates so far" in site.text("/")


def test_figures_lead_to_the_candidates(open_site):
    page = open_site("text").text("/")
    assert 'href="/candidates?arm=main&amp;iteration=1"' in page
    assert 'href="/games"' not in page


@pytest.mark.parametrize(
    "path",
    ["/games", "/candidates/main/1/0/11", "/candidates/main/1/1/0"]
    + ["/candidates/other/1/0/0", "/candidates?arm=other"],
)
def test_what_is_not_there_is_said_to_be_missing(open_site, path):
    assert open_site("triangle").ask(path)[0] == 404
