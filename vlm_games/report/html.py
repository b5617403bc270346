"""The report of a run: one self-contained HTML page."""

import os
import pathlib
from collections.abc import Mapping, Sequence

import jinja2
from markupsafe import Markup

from vlm_games.data import atomic
from vlm_games.report import (
    candidates,
    contact_sheet,
    gallery,
    measures,
    story,
    svg,
    tables,
    words,
)
from vlm_games.report.candidates import CandidateView
from vlm_games.report.contact_sheet import SetView
from vlm_games.report.gallery import GameView

HERE = pathlib.Path(__file__).parent
DASH = "–"


def write_report(
    path: str | os.PathLike,
    *,
    title: str,
    config_text: str,
    arms: Mapping[str, list[dict]],
    shown: Sequence[GameView | CandidateView],
    skipped: Sequence[str] = (),
    sets: Sequence[SetView] = (),
    own_images: bool = False,
    chance: float | None = None,
) -> None:
    """Writes the page at `path`, in one step; it asks nothing of a network.

    Args:
      path: where the page goes; parent folders are made.
      title: what was run, in a few words.
      config_text: the run's configuration, shown as it is.
      arms: arm -> the metrics.json of its iterations; "main" holds the base as
        iteration 0, every other arm is a control.
      shown: the candidates of the gallery, in the order to show within an
        outcome.
      skipped: one line for each thing the run was asked for and left out.
      sets: some of those that games are played on, for the contact sheet.
      own_images: whether games are played on images of the user's.
      chance: percent of games that a blind guess wins, if known.
    """
    page = render(
        title, config_text, arms, shown, skipped, sets, own_images, chance
    )
    # A file name that is not UTF-8 reaches here as lone surrogates.
    atomic.write_bytes(path, page.encode("utf-8", "backslashreplace"))


def render(
    title: str,
    config_text: str,
    arms: Mapping[str, list[dict]],
    shown: Sequence[GameView | CandidateView],
    skipped: Sequence[str] = (),
    sets: Sequence[SetView] = (),
    own_images: bool = False,
    chance: float | None = None,
) -> str:
    """The page as a string; the template escapes every text of the run."""
    arms = {name: measures.ordered(rows) for name, rows in arms.items()}
    main = arms.get(measures.MAIN, [])
    taken = measures.taken(arms, own_images)
    album = gallery.Album()
    games = [x for x in shown if isinstance(x, GameView)]
    others = [x for x in shown if isinstance(x, CandidateView)]
    sections = [
        *gallery.sections(games, album),
        *candidates.sections(others, album),
    ]
    return (
        _environment()
        .get_template("report.html.jinja")
        .render(
            title=title,
            config_text=config_text,
            skipped=skipped,
            css=Markup((HERE / "report.css").read_text(encoding="utf-8")),
            story=story.tell(arms, own_images),
            measures=taken,
            tiles=tables.tiles(arms, taken),
            iterations=tables.iterations(arms, taken),
            charts=tables.charts(arms, taken),
            legend=[(name, svg.legend_key(i)) for i, name in enumerate(arms)],
            filters=tables.filters(main),
            guards=tables.guards(main),
            guard_names=tables.GUARDS,
            chance=chance,
            kinds=tables.kinds(arms),
            elsewhere=measures.ELSEWHERE if own_images else "",
            phases=tables.phases(main),
            sets=contact_sheet.rows(sets, album),
            sections=sections,
            words=words.explain(arms, bool(games)),
            guide=words.GUIDE,
            pictures_css=album.css(),
        )
    )


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=lambda v, digits=1: measures.plain(v, digits, dash=DASH),
        signed=lambda v, digits=1: measures.signed(v, digits).replace(
            "-", "\N{MINUS SIGN}"
        ),
    )
    return environment
