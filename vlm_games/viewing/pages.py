"""What the templates show, as plain values; every text is escaped there."""

import collections
import dataclasses
import pathlib
import urllib.parse
from collections.abc import Sequence
from typing import Any

import jinja2
from markupsafe import Markup

from vlm_games import report
from vlm_games.data.records import OUTCOMES, GameRecord
from vlm_games.data.workdir import flatten
from vlm_games.methods.method import MAIN, REPLAY_ONLY
from vlm_games.methods.views import PLAIN, views
from vlm_games.report import measures, story, svg, tables, words
from vlm_games.viewing.person import PersonGame
from vlm_games.viewing.players import Replayed
from vlm_games.viewing.query import (
    CandidateQuery,
    GameQuery,
    Query,
    reasons,
)
from vlm_games.viewing.run_folder import Candidate, RunFolder

HERE = pathlib.Path(__file__).parent
REPORT = pathlib.Path(report.__file__).parent
OUTCOME_NAMES = {"success": "won", "lose": "lost", "aborted": "aborted"}
DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
SUGGESTED = 60  # questions or answers under a field


def environment() -> jinja2.Environment:
    """Templates that escape all they are given."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader([HERE / "templates", REPORT]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        number=lambda v, digits=1: measures.plain(v, digits, dash=DASH),
        signed=lambda v, digits=1: measures.signed(v, digits).replace(
            "-", MINUS
        ),
    )
    made.globals.update(
        outcome_names=OUTCOME_NAMES, meter=meter, bars=svg.belief_bars
    )
    return made


def stylesheet() -> str:
    """The report's and, over it, the viewer's own."""
    own = (HERE / "view.css").read_text(encoding="utf-8")
    return (REPORT / "report.css").read_text(encoding="utf-8") + own


def meter(share: float) -> Markup:
    """A bar filled to a share from 0 to 1."""
    return Markup(
        '<svg class="meter" height="4" aria-hidden="true">'
        '<rect class="fill" width="{:.1f}%" height="4"/></svg>'
    ).format(100 * min(max(share, 0.0), 1.0))


def overview(run: RunFolder) -> dict:
    """Curves, figures, and every iteration with its games."""
    arms, own_images = run.figures(), bool(run.config.images)
    known = {arm: rows for arm, rows in arms.items() if rows}
    taken = measures.taken(known, own_images)
    return {
        "progress": run.progress(),
        "story": story.tell(known, own_images),
        "tiles": tables.tiles(known, taken),
        "chance": 100 / run.config.game.images,
        "charts": tables.charts(known, taken),
        "words": words.explain(known, run.has_games),
        "guide": words.GUIDE,
        "legend": [(name, svg.legend_key(i)) for i, name in enumerate(known)],
        "rows": [
            {
                "arm": arm,
                "iteration": row["iteration"],
                "played": measures.figure(row, "games_played"),
                "kept": measures.figure(row, "games_kept"),
                "seconds": measures.figure(row, "seconds"),
                **_learned_from(run, arm, row["iteration"]),
            }
            for arm, rows in arms.items()
            for row in rows
        ],
    }


def _learned_from(run: RunFolder, arm: str, iteration: int) -> dict:
    """Where what an arm learned from is, "" if nowhere, and whose it is."""
    query: type[Query] = GameQuery if run.has_games else CandidateQuery
    # In the first iteration all arms are the base, and main plays for all.
    borrows = iteration == 1 and arm != REPLAY_ONLY
    made_by = MAIN if borrows else arm
    there = run.shards(made_by, iteration)
    link = query(made_by, str(iteration)).link() if there else ""
    return {"link": link, "borrowed": made_by != arm}


def games(run: RunFolder, query: GameQuery) -> dict:
    """The games that a query asks for, and what else may be asked."""
    there, wanted = _iterations(run, query)
    played = [g for i in wanted for g in run.games(query.arm, i)]
    return {
        "arms": run.arms,
        "iterations": there,
        "outcomes": OUTCOMES,
        "reasons": reasons(played),
        "made": len(played),
        **query.page_of([game for game in played if query.matches(game)]),
    }


def candidates(run: RunFolder, query: CandidateQuery) -> dict:
    """The candidates that a query asks for, and what else may be asked."""
    there, wanted = _iterations(run, query)
    made = [c for i in wanted for c in run.candidates(query.arm, i)]
    return {
        "arms": run.arms,
        "iterations": there,
        "open": [i for i in wanted if run.is_making(query.arm, i)],
        "made": len(made),
        **query.page_of([c for c in made if query.matches(c.view)]),
    }


def _iterations(run: RunFolder, query: Query) -> tuple[list[int], list[int]]:
    """Those that have candidates, and those of them that are asked for."""
    there = [
        i
        for i in range(1, run.config.iterations + 1)
        if run.shards(query.arm, i)
    ]
    return there, [i for i in there if query.iteration in ("", str(i))]


def candidate(arm: str, found: Candidate) -> dict:
    """One candidate in detail: all that its record holds."""
    fields = flatten(dataclasses.asdict(found.record))
    return {
        "arm": arm,
        "found": found,
        "fields": [(name, _told(value)) for name, value in fields.items()],
    }


def _told(value: Any) -> str:
    """A field of a record in words."""
    if value is None or value == "":
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}".replace("-", MINUS)
    if isinstance(value, list | tuple):
        return ", ".join(map(_told, value)) or DASH
    return str(value)


def game(run: RunFolder, arm: str, record: GameRecord) -> dict:
    """One game in detail."""
    how = f"{len(record.images)} images, as they are"
    seats = [("guesser", how, paths(run, record))]
    for name, (_, strength) in views(run.config.game).items():
        how = f"augmented, strength {strength:g}" if strength else "as it is"
        shown = paths(run, record, name if strength else PLAIN)
        if name == "describer":
            shown = [shown[record.target]]
        seats.append((name, how, shown))
    return {"arm": arm, "record": record, "seats": seats}


def paths(run: RunFolder, record: GameRecord, view: str = PLAIN) -> list[str]:
    """Addresses of a game's pictures, in the Guesser's order."""
    place = f"/views/{record.iteration}/{urllib.parse.quote(view)}"
    return [
        f"/images/{number}.png"
        if view == PLAIN and position != record.copy
        else f"{place}/{number}.png"
        for position, number in enumerate(run.numbers(record))
    ]


def replayed(found: Replayed) -> dict:
    """A game that a checkpoint played at the page."""
    return {
        "which": found.which,
        "game": found.game,
        "target": found.game.spec.target,
        "beliefs": found.beliefs.tolist(),
    }


def play(game: PersonGame, said: Sequence[str], error: str) -> dict:
    """A game with a person.

    Args:
      said: words to choose from. error: what was wrong with the last move.
    """
    return {
        "game": game,
        "shows_target": game.over or game.seat == "describer",
        "said_before": said,
        "error": error,
        "won": game.guess == game.target,
        "left": game.opposite.settings.turns - len(game.dialog),
    }


def suggestions(run: RunFolder, answers: bool) -> list[str]:
    """What was asked, or answered, most often in the run so far."""
    counts: collections.Counter[str] = collections.Counter()
    for i in range(1, run.config.iterations + 1):
        for record in run.games(run.arms[0], i):
            for turn in record.turns:
                counts[turn.answer if answers else turn.question] += 1
    return [text for text, _ in counts.most_common(SUGGESTED)]
