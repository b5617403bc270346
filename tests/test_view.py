"""The viewer's pages, asked for as a browser would, and what it refuses."""

import dataclasses
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import made_run
import numpy as np
import pytest

from vlm_games.data.png import from_png
from vlm_games.games.image_sets import ImageSet
from vlm_games.methods.copies import put_copies
from vlm_games.methods.views import seen, view_keys
from vlm_games.viewing.query import GameQuery

uvicorn = pytest.importorskip("uvicorn")
pytest.importorskip("starlette")

from vlm_games.viewing.app import make_app  # noqa: E402
from vlm_games.viewing.run_folder import RunFolder  # noqa: E402


class Site:
    """A viewer at work.

    Attributes:
      port: where. place: path of the page asked for last, redirects followed.
    """

    def __init__(self, app):
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        config = uvicorn.Config(
            app, log_level="critical", lifespan="off", ws="none"
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), daemon=True
        )
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)

    def close(self):
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    def ask(self, path, data=None, **headers):
        """(status, headers, body)."""
        asked = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            None if data is None else urllib.parse.urlencode(data).encode(),
            headers,
        )
        try:
            with urllib.request.urlopen(asked, timeout=900) as answer:
                self.place = urllib.parse.urlsplit(answer.url).path
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read()

    def text(self, path) -> str:
        status, _, body = self.ask(path)
        assert status == 200, body
        return body.decode()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("run")
    made_run.make_run(root, hostile=True)
    return RunFolder(root)


@pytest.fixture(scope="module")
def site(run):
    found = Site(make_app(run))
    yield found
    found.close()


def test_figures_tell_how_far_the_run_is(site):
    page = site.text("/")
    assert "2 of 5 measured" in page
    assert "main, iteration 2: playing, 1 shards of games so far" in page
    assert page.count('<svg class="chart"') == 4
    assert "What the words mean" in page and "chance is 25.0 %" in page
    assert 'data-state="open"' in site.text("/live")


def test_figures_are_live(site, run):
    """What is measured while the page is open shows when it asks again."""
    before = site.text("/live")
    path = run.workdir.iteration("main", 2) / "metrics.json"
    run.workdir.write_metrics("main", 2, made_run.metrics(2))
    try:
        after = site.text("/live")
    finally:
        path.unlink()
    assert "3 of 5" in after and "3 of 5" not in before


def test_a_control_of_the_first_iteration_points_to_the_games_of_main(
    site, run
):
    run.workdir.write_metrics("unfiltered", 1, made_run.metrics(1))
    path = run.workdir.iteration("unfiltered", 1) / "metrics.json"
    try:
        page = site.text("/live")
    finally:
        path.unlink()
    assert '<a href="/games?arm=main&amp;iteration=1">main&#39;s games' in page


@pytest.mark.parametrize(
    ("query", "games"),
    [
        ("", [(1, 0), (1, 1), (1, 2), (1, 3), (2, 0), (2, 1), (2, 2), (2, 3)]),
        ("iteration=1", [(1, 0), (1, 1), (1, 2), (1, 3)]),
        ("outcome=success&iteration=2", [(2, 0)]),
        ("outcome=aborted", [(1, 2), (2, 2)]),
        ("reason=no+question+or+guess+found", [(1, 2), (2, 2)]),
        ("kept=yes&iteration=1", [(1, 0), (1, 3)]),
        ("image=9", [(1, 2), (2, 2)]),
        ("image=play/00006", [(1, 1), (2, 1)]),
        ("word=RING&iteration=1", [(1, 0), (1, 3)]),
        ("word=rin", []),
        ("arm=unfiltered", []),
    ],
)
def test_the_gallery_shows_what_is_asked_for(site, query, games):
    page = site.text(f"/games?{query}")
    shown = [
        (i, g)
        for i in (1, 2)
        for g in range(4)
        if f'href="/games/main/{i}/{g}"' in page
    ]
    assert shown == games
    assert f"{len(games)} of " in page


def test_a_page_of_the_gallery_ends_and_the_next_goes_on(
    run, site, monkeypatch
):
    monkeypatch.setattr("vlm_games.viewing.query.PAGE", 5)
    first, second = site.text("/games"), site.text("/games?page=2")
    assert first.count("<article") == 5 and second.count("<article") == 3
    assert 'rel="next" href="/games?arm=main&amp;page=2"' in first


def test_a_link_of_the_gallery_keeps_the_filters():
    query = GameQuery(outcome="lose", word="a&b", page=3)
    link = query.link(page=4)
    given = dict(urllib.parse.parse_qsl(link.partition("?")[2]))
    assert GameQuery.read(given) == dataclasses.replace(query, page=4)
    assert GameQuery.read({"page": "x"}).page == 1


def test_a_game_is_shown_turn_by_turn(site):
    page = site.text("/games/main/1/0")
    assert page.index("is there a red object ?") < page.index("is there a ring")
    for shown in ("40 %", "60 %", "views", "log p(answer)", "2 yes"):
        assert shown in page
    assert page.count("/views/1/judge%201/") == 4


def test_views_are_those_of_the_run(site, run):
    pixels = np.stack([run.images[i] for i in range(len(run.images))])
    keys = view_keys(0, 1, 2, len(pixels))
    expected = seen(keys, pixels, 0.7)[3]
    status, _, body = site.ask("/views/1/judge%201/3.png")
    assert status == 200
    np.testing.assert_array_equal(from_png(body), expected)
    _, _, body = site.ask("/images/3.png")
    np.testing.assert_array_equal(from_png(body), run.images[3])


def test_a_corrupted_copy_is_shown_as_it_was_played_with(tmp_path):
    """Everywhere; it has its target's index, and a place behind all images."""
    config = made_run.make_config(game__games=4, game__corrupted=0.5)
    workdir = made_run.make_run(tmp_path, config)
    run = RunFolder(tmp_path)
    before = made_run.games(1)
    after, images = put_copies(
        [ImageSet(g.images, g.target) for g in before], run, 1
    )
    played = []
    for game, drawn in zip(before, after, strict=True):
        (*place,) = (i for i in range(4) if drawn.images[i] >= len(run.images))
        if place:
            shown = list(game.images)
            shown[place[0]] = game.images[game.target]
            game = dataclasses.replace(game, images=tuple(shown), copy=place[0])
        played.append(game)
    workdir.write_shard("main", 1, 0, played)
    assert [run.numbers(game) for game in played] == [s.images for s in after]
    second = [g for g in played if g.copy is not None][1]
    site = Site(make_app(run))
    path = f"/views/1/plain/{len(run.images) + 1}.png"
    place = f"main/1/{second.game}"
    for page in ("/games", f"/games/{place}", f"/sets/{place}"):
        assert path in site.text(page)
    assert "not played again" in site.text(f"/sets/{place}")
    found = from_png(site.ask(path)[2])
    np.testing.assert_array_equal(found, images[len(run.images) + 1])
    # A judge saw it in a view of its own.
    judged = from_png(site.ask(path.replace("plain", "judge%201"))[2])
    keys = view_keys(0, 1, 2, len(images))[-1:]
    np.testing.assert_array_equal(judged, seen(keys, found[None], 0.7)[0])
    assert site.ask(path.replace("13", "14"))[0] == 404
    site.close()


def test_the_same_set_is_found_in_other_iterations(site):
    page = site.text("/sets/main/1/0")
    assert page.count("<article") == 2
    assert 'href="/games/main/2/0"' in page
    # Only checkpoints that are there: none but the base's.
    assert page.count('name="checkpoint"') == 1


def test_text_of_a_run_is_never_markup(site):
    for path in ("/games?iteration=2", "/games/main/2/3"):
        page = site.text(path)
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<i>" not in site.text("/games?word=%3Ci%3E")


def test_a_shard_under_repair_is_passed_over(site, run):
    path = run.workdir.shard_path("main", 2, 0)
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    try:
        assert site.text("/games").count("<article") == 4
    finally:
        path.write_bytes(whole)


def test_pages_may_load_nothing_from_elsewhere(site):
    for path in ("/", "/games", "/play", "/nothing"):
        _, headers, body = site.ask(path)
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        # What the policy would not let pass must not be there.
        assert b"style=" not in body and b"https://" not in body


def test_a_name_that_was_made_to_point_here_is_refused(site):
    status, _, _ = site.ask("/", Host="evil.example")
    assert status == 400


def test_forms_of_other_pages_are_refused(site):
    status, _, body = site.ask("/play", {"seat": "x"}, Origin="http://evil.com")
    assert status == 403 and b"another page" in body
    own = f"http://127.0.0.1:{site.port}"
    status, _, _ = site.ask("/play", {"seat": "x"}, Origin=own)
    assert status == 404  # let through: there is no checkpoint ""


@pytest.mark.parametrize(
    "path",
    [
        "/games/main/1/9",
        "/games/other/1/0",
        "/games?arm=other",
        "/images/99.png",
        "/views/1/nobody/0.png",
        "/play/0123",
    ],
)
def test_what_is_not_there_is_said_to_be_missing(site, path):
    assert site.ask(path)[0] == 404


@pytest.mark.parametrize("images", ["0,1,2,3/0", "0,1,2,99/1", "0,1,2,3"])
def test_a_set_that_is_none_is_told_how_to_give_one(site, images):
    form = {"seat": "guesser", "checkpoint": "main:0", "images": images}
    status, _, body = site.ask("/play", form)
    assert status == 400 and b"from 0 to 11" in body


def test_a_taken_port_is_told_with_what_to_do(tmp_path):
    made_run.make_run(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        flags = [f"--workdir={tmp_path}", f"--port={port}"]
        command = [sys.executable, "-m", "vlm_games.view", *flags]
        said = subprocess.run(command, capture_output=True, text=True)
    assert said.returncode == 1
    assert f"port {port} is taken" in said.stderr and "--port=0" in said.stderr


def test_no_run_says_what_to_give(tmp_path):
    with pytest.raises(FileNotFoundError, match="has no config.json"):
        RunFolder(tmp_path)
