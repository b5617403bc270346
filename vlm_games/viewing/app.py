"""The pages and forms of the viewer.

    /                  figures and curves, live
    /games             gallery, filtered by its address
    /games/A/I/G       game G of iteration I of arm A
    /sets/A/I/G        its images in other iterations, and played again
    /candidates        the same where they are no games
    /candidates/A/I/S/L   line L of shard S of iteration I of arm A
    /play, /play/ID    a person against a checkpoint
    /images, /views    pictures

Starlette under uvicorn: two packages that do just this, with a check of the
Host header built in. What may take long runs in threads of theirs, so that a
slow model holds up no other page.
"""

import functools
import secrets
import urllib.parse
from collections.abc import Callable, Mapping

import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import ImmutableMultiDict
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from vlm_games.data.png import to_png
from vlm_games.data.records import GameRecord
from vlm_games.games.protocol import GameSpec
from vlm_games.methods.choose import asks_all
from vlm_games.methods.method import MAIN
from vlm_games.viewing import pages
from vlm_games.viewing.guard import guarded
from vlm_games.viewing.person import SEATS, MoveError, Parlour
from vlm_games.viewing.players import Players
from vlm_games.viewing.query import CandidateQuery, GameQuery, same_set
from vlm_games.viewing.run_folder import Candidate, Checkpoint, RunFolder

BODY = 1 << 16  # bytes of a form
CANDIDATE = "{arm}/{iteration:int}/{shard:int}/{line:int}"
FOR_GOOD = {"Cache-Control": "private, max-age=86400"}


def make_app(run: RunFolder) -> ASGIApp:
    """The viewer of a run, behind its guard."""
    viewer = Viewer(run)
    get = [
        ("/", viewer.overview),
        ("/live", viewer.live),
        ("/games", viewer.games),
        ("/games/{arm}/{iteration:int}/{game:int}", viewer.game),
        ("/sets/{arm}/{iteration:int}/{game:int}", viewer.image_set),
        ("/candidates", viewer.candidates),
        (f"/candidates/{CANDIDATE}", viewer.candidate),
        (f"/candidates/{CANDIDATE}/{{picture:int}}.png", viewer.picture),
        ("/play", viewer.tables),
        ("/play/{name}", viewer.play),
        ("/images/{image:int}.png", viewer.image),
        ("/views/{iteration:int}/{view}/{image:int}.png", viewer.view),
        ("/view.css", viewer.css),
        ("/view.js", viewer.script),
    ]
    post = [
        ("/sets/{arm}/{iteration:int}/{game:int}", viewer.replay),
        ("/play", viewer.begin),
        ("/play/{name}", viewer.move),
    ]
    routes = [Route(path, act) for path, act in get]
    routes += [Route(path, act, methods=["POST"]) for path, act in post]
    errors = {HTTPException: viewer.error}
    return guarded(Starlette(routes=routes, exception_handlers=errors))


class Viewer:
    """One run at one page."""

    def __init__(self, run: RunFolder):
        self.run = run
        self.players = Players(run)
        self.parlour = Parlour(self.players)
        self._templates = pages.environment()
        self._css = pages.stylesheet()

    # Pages ------------------------------------------------------------------

    def overview(self, request: Request) -> Response:
        return self._page("overview", pages.overview(self.run))

    def live(self, request: Request) -> Response:
        """The part of the overview that changes, alone."""
        return self._page("live", pages.overview(self.run))

    def games(self, request: Request) -> Response:
        self._need(games=True)
        query = GameQuery.read(request.query_params)
        self._need_arm(query.arm)
        return self._page("games", pages.games(self.run, query))

    def candidates(self, request: Request) -> Response:
        self._need(games=False)
        query = CandidateQuery.read(request.query_params)
        self._need_arm(query.arm)
        return self._page("candidates", pages.candidates(self.run, query))

    def candidate(self, request: Request) -> Response:
        arm, found = self._candidate(request)
        return self._page("candidate", pages.candidate(arm, found))

    def game(self, request: Request) -> Response:
        arm, record = self._game(request)
        return self._page("game", pages.game(self.run, arm, record))

    def image_set(self, request: Request) -> Response:
        return self._set_page(request, [])

    def _set_page(self, request: Request, replayed: list) -> Response:
        arm, record = self._game(request)
        again = [
            (arm, found)
            for i in range(1, self.run.config.iterations + 1)
            for found in self.run.games(arm, i)
            if same_set(found, record)
        ]
        values = {
            "arm": arm,
            "record": record,
            "again": again,
            "checkpoints": self.run.checkpoints(),
            "replayed": replayed,
        }
        return self._page("set", values)

    def tables(self, request: Request) -> Response:
        """Where a person chooses a seat."""
        return self._tables(request.query_params, "")

    def _tables(self, given: Mapping[str, str], error: str) -> Response:
        found = self.run.checkpoints()
        latest = [which.key for which in found if which.arm == MAIN][-1]
        values = {
            "checkpoints": found,
            "given": given,
            "chosen": given.get("checkpoint", latest),
            "seats": SEATS,
            "error": error,
        }
        return self._page("tables", values, 400 if error else 200)

    def play(self, request: Request) -> Response:
        return self._play(request, "")

    def _play(self, request: Request, error: str) -> Response:
        game = self._seated(request)
        said = pages.suggestions(self.run, answers=game.seat == "describer")
        values = pages.play(game, said, error)
        return self._page("play", values, 400 if error else 200)

    # Forms ------------------------------------------------------------------

    async def replay(self, request: Request) -> Response:
        """The set, played by the checkpoints that were ticked."""

        def act(form) -> Response:
            _, record = self._game(request)
            share = self.run.config.game.asks_all
            spec = GameSpec(
                record.game,
                record.images,
                record.target,
                asks_all=asks_all(record.game, share),
            )
            seed = (record.seed, record.iteration)
            wanted = [
                self._checkpoint(key) for key in form.getlist("checkpoint")
            ]
            found = [self.players.replay(w, spec, seed) for w in wanted]
            shown = [pages.replayed(game) for game in found]
            return self._set_page(request, shown)

        return await self._posted(request, act)

    async def begin(self, request: Request) -> Response:
        """Seats a person at a new game."""

        def act(form) -> Response:
            which = self._checkpoint(form.get("checkpoint", ""))
            seat = form.get("seat", "")
            if seat not in SEATS:
                raise HTTPException(400, f"There is no seat {seat!r}.")
            images, target = self._drawn(form.get("images", ""))
            try:
                game = self.parlour.begin(which, seat, images, target)
            except MoveError as error:
                return self._tables(form, str(error))
            return RedirectResponse(f"/play/{game.name}", 303)

        return await self._posted(request, act)

    async def move(self, request: Request) -> Response:
        """A person's question, answer or guess."""

        def act(form) -> Response:
            game = self._seated(request)
            words, guess = form.get("words", ""), form.get("guess", "")
            try:
                if guess.isdecimal():
                    self.parlour.guess(game, int(guess))
                elif game.seat == "guesser":
                    self.parlour.ask(game, words)
                else:
                    self.parlour.answer(game, words)
            except MoveError as error:
                return self._play(request, str(error))
            return RedirectResponse(f"/play/{game.name}", 303)

        return await self._posted(request, act)

    async def _posted(
        self, request: Request, act: Callable[..., Response]
    ) -> Response:
        """Reads a form and acts on it in a thread."""
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > BODY:
                raise HTTPException(413, "This form is too long.")
        pairs = urllib.parse.parse_qsl(body.decode("utf-8", "replace"))
        return await run_in_threadpool(act, ImmutableMultiDict(pairs))

    # Files ------------------------------------------------------------------

    def image(self, request: Request) -> Response:
        number = request.path_params["image"]
        if number >= len(self.run.images):
            raise HTTPException(404, f"There is no image {number}.")
        return _picture(self.run.images[number])

    def picture(self, request: Request) -> Response:
        """What a candidate is about, or how it was spoilt."""
        _, found = self._candidate(request)
        number = request.path_params["picture"]
        if number >= len(found.view.pictures):
            raise HTTPException(404, "It has no such picture.")
        return _picture(found.view.pictures[number].draw())

    def view(self, request: Request) -> Response:
        """An image as a role or judge saw it."""
        asked = request.path_params
        try:
            found = self.run.view(
                asked["iteration"], asked["view"], asked["image"]
            )
        except (KeyError, IndexError):
            raise HTTPException(404, "There is no such view.") from None
        return _picture(found)

    def css(self, request: Request) -> Response:
        return Response(self._css, media_type="text/css")

    def script(self, request: Request) -> Response:
        text = (pages.HERE / "view.js").read_text(encoding="utf-8")
        return Response(text, media_type="text/javascript")

    # ------------------------------------------------------------------------

    def error(self, request: Request, error: Exception) -> Response:
        """What went wrong, as a page."""
        status = getattr(error, "status_code", 500)
        detail = getattr(error, "detail", "")
        values = {"status": status, "detail": detail}
        return self._page("error", values, status)

    def _page(self, name: str, values: Mapping, status: int = 200) -> Response:
        found = self._templates.get_template(f"{name}.html.jinja").render(
            workdir=str(self.run.workdir.root),
            method=self.run.config.method.replace("_", " "),
            has_games=self.run.has_games,
            paths=functools.partial(pages.paths, self.run),
            **values,
        )
        # A file name that is not UTF-8 reaches here as lone surrogates.
        content = found.encode("utf-8", "backslashreplace")
        headers = {"Cache-Control": "no-store"}
        return HTMLResponse(content, status, headers)

    def _game(self, request: Request) -> tuple[str, GameRecord]:
        """(arm, game) that an address names."""
        self._need(games=True)
        asked = request.path_params
        arm = asked["arm"]
        games = self.run.games
        found = games(arm, asked["iteration"]) if arm in self.run.arms else []
        for record in found:
            if record.game == asked["game"]:
                return arm, record
        raise HTTPException(404, "The run has no such game (yet).")

    def _candidate(self, request: Request) -> tuple[str, Candidate]:
        """(arm, candidate) that an address names."""
        self._need(games=False)
        asked = request.path_params
        self._need_arm(asked["arm"])
        for found in self.run.candidates(asked["arm"], asked["iteration"]):
            if (found.shard, found.line) == (asked["shard"], asked["line"]):
                return asked["arm"], found
        raise HTTPException(404, "The run has no such candidate (yet).")

    def _need(self, games: bool) -> None:
        """That candidates are games, or that they are none."""
        if self.run.has_games != games:
            path = (CandidateQuery if games else GameQuery).PATH
            raise HTTPException(
                404,
                f"What the method {self.run.config.method!r} makes is at "
                f"{path}.",
            )

    def _need_arm(self, arm: str) -> None:
        if arm not in self.run.arms:
            raise HTTPException(404, f"The run has no arm {arm!r}.")

    def _seated(self, request: Request):
        try:
            return self.parlour.find(request.path_params["name"])
        except KeyError:
            raise HTTPException(
                404, "This game is not known (any more). Begin another."
            ) from None

    def _checkpoint(self, key: str) -> Checkpoint:
        for found in self.run.checkpoints():
            if found.key == key:
                return found
        raise HTTPException(404, f"The run has no checkpoint {key!r} (yet).")

    def _drawn(self, text: str) -> tuple[tuple[int, ...], int]:
        """(images, target) of a text such as "3,8,19/2", which makes image 8
        the target; drawn where it is ""."""
        total, count = len(self.run.images), self.run.config.game.images
        if not text:
            rng = np.random.default_rng(secrets.randbits(64))
            images = rng.choice(total, count, replace=False)
            return tuple(images.tolist()), int(rng.integers(count))
        numbers, _, place = text.partition("/")
        parts = numbers.split(",")
        wrong = HTTPException(
            400,
            f"No set of images: {text!r}. Give numbers from 0 to {total - 1}, "
            "and behind a slash which of them is the target, such as 3,8,19/2.",
        )
        if not all(x.isdecimal() for x in (*parts, place)):
            raise wrong
        images, target = tuple(map(int, parts)), int(place) - 1
        if max(images) >= total or not 0 <= target < len(images):
            raise wrong
        return images, target


def _picture(pixels: np.ndarray) -> Response:
    return Response(to_png(pixels), media_type="image/png", headers=FOR_GOOD)
