"""The report shows what was measured, and trusts no text it is given."""

import json
import re

import numpy as np
import pytest

from vlm_games.report import measures, story, summary, svg, tensorboard
from vlm_games.report.candidates import CandidateView, Picture
from vlm_games.report.contact_sheet import SetView
from vlm_games.report.html import GameView, render, write_report

HOSTILE = "<script>alert('https://x.test')</script>\"'&"


def metrics(iteration, **changes):
    return {
        "iteration": iteration,
        "game_success": 40.0 + 5 * iteration,
        "vqa_yes_no": 70.0 + iteration,
        "vqa_other": 55.0,
        "vqa_kinds": {"colour": 50.0 + iteration},
        "source_yes_no": 93.0,
        "games_played": 1000,
        "games_kept": 400,
        "seconds": 60.0,
        "phase_seconds": {"play": 30.0, "train": 30.0},
        "blind_success": 26.0,
    } | changes


def game(text="is it red ?", outcome="success", images=None, **changes):
    turn = {
        "question": text,
        "answer": text,
        "summary": text,
        "question_logprob": -1.0,
        "answer_logprob": -0.5,
        "belief": [0.3, 0.7],
        "true": True,
    }
    record = {
        "game": 7,
        "iteration": 1,
        "seed": 0,
        "images": [4, 9],
        "names": [text, "b"],
        "target": 1,
        "turns": [turn],
        "final_summary": text,
        "guess": 1,
        "belief": [0.2, 0.8],
        "outcome": outcome,
        "reason": None,
        "filters": {"success": True},
        "kept": True,
    } | changes
    if images is None:
        images = [np.full((8, 8, 3), i, np.uint8) for i in range(2)]
    return GameView(record, images)


def page(arms=None, games=(), **changes):
    texts = {"title": "a run", "config_text": "seed: 0"} | changes
    if arms is None:
        arms = {"main": [metrics(0), metrics(1)]}
    return render(arms=arms, shown=games, **texts)


def test_no_text_of_the_run_becomes_markup():
    arms = {
        "main": [
            metrics(0),
            metrics(
                1,
                vqa_kinds={HOSTILE: 50.0},
                phase_seconds={HOSTILE: 1.0},
                filters={HOSTILE: {"kept": 1, "of": 2}},
            ),
        ],
        HOSTILE: [metrics(1)],
    }
    games = [
        game(HOSTILE, filters={HOSTILE: True}),
        game(HOSTILE, "aborted", guess=None, reason=HOSTILE),
    ]
    html = page(
        arms, games, title=HOSTILE, config_text=HOSTILE, skipped=[HOSTILE]
    )
    assert "<script" not in html
    assert html.count("&lt;script&gt;") > 10
    # Nor does a quote end an attribute.
    assert not re.search(r'="[^"]*<', html)


def test_the_page_asks_nothing_of_a_network():
    html = page(games=[game()])
    assert "://" not in html
    targets = re.findall(r'(?:src|href)="([^"]*)"', html)
    targets += re.findall(r"url\(([^)]*)\)", html)
    assert targets
    assert all(t.startswith(("#", "data:")) for t in targets)
    assert "default-src 'none'" in html


def test_a_picture_seen_twice_is_embedded_once():
    one = np.zeros((8, 8, 3), np.uint8)
    html = page(games=[game(images=[one, one + 1]), game(images=[one, one])])
    assert html.count("data:image/png;base64,") == 2


def test_target_and_wrong_guess_are_both_marked():
    html = page(games=[game(outcome="lose", guess=0)])
    assert html.count(">target<") == 1
    assert html.count("guess ✗") == 1
    assert "guess ✓" not in html


@pytest.mark.parametrize("absent", ["missing", None, float("nan")])
def test_a_figure_that_was_not_taken_is_a_dash(absent):
    row = metrics(1)
    for key in [k for k in row if k != "iteration"]:
        if absent == "missing" or isinstance(row[key], dict):
            del row[key]
        else:
            row[key] = absent
    arms = {"main": [row]}
    html = page(arms)
    assert "nan" not in html.lower().split("<body>")[1]
    assert "None" not in html
    body = html[html.index('id="figures"') : html.index('id="curves"')]
    assert body.count("–") == len(measures.MEASURES) + 3
    assert "nan" not in summary.format_table(arms)
    assert summary.format_table(arms).splitlines()[-1].count(" -") == 6


def test_a_run_without_iterations_still_has_a_page():
    assert "Nothing is measured so far" in page({})
    assert "not measured" in page({"main": []})


def test_too_few_pictures_are_named():
    with pytest.raises(ValueError, match="game 7 was played on 2 images"):
        game(images=[np.zeros((8, 8, 3), np.uint8)])


def test_summary_rows_have_exactly_the_keys():
    (row,) = summary.summary_rows([metrics(0) | {"more": 1}])
    assert tuple(row) == summary.KEYS
    (row,) = summary.summary_rows([{"iteration": 0}])
    assert tuple(row) == summary.KEYS


def test_summary_survives_the_disk(tmp_path):
    rows = summary.summary_rows([metrics(1, seconds=float("nan")), metrics(0)])
    path = tmp_path / "new" / "summary.json"
    summary.write_summary(path, rows)
    assert json.loads(path.read_text()) == rows
    assert [row["iteration"] for row in rows] == [0, 1]
    assert rows[1]["seconds"] is None
    assert [p.name for p in path.parent.iterdir()] == ["summary.json"]


def test_table_gives_changes_and_the_last_of_each_control():
    arms = {
        "main": [metrics(0), metrics(1)],
        "lost": [metrics(1, vqa_yes_no=50.0), metrics(2, vqa_yes_no=66.6)],
    }
    table = summary.format_table(arms)
    assert "71.0  (+1.0)" in table
    assert "66.6  (-3.4)" in table
    assert "-20.0" not in table
    assert table.count("lost") == 1


def test_story_says_when_nothing_rose_and_names_the_control():
    arms = {
        "main": [metrics(0), metrics(1, vqa_yes_no=69.0)],
        "lost": [metrics(1, vqa_yes_no=69.5)],
    }
    told = " ".join(story.tell(arms))
    assert "did not rise: it went from 70.0 to 69.0 %" in told
    assert "“lost” reached 69.5 % yes/no at iteration 1, 0.5 points above" in (
        told
    )


def test_story_compares_a_control_at_its_own_iteration():
    arms = {
        "main": [metrics(i) for i in range(3)],
        "lost": [metrics(1, vqa_yes_no=70.0)],
    }
    assert "at iteration 1: 1.0 point below main" in story.tell(arms)[-2]


@pytest.mark.parametrize(
    "values", [[0.0], [100.0], [72.1, 76.3], [0.0, 100.0], [50.0, 50.04]]
)
def test_ticks_enclose_the_values_within_percent(values):
    ticks = svg.value_ticks(values)
    assert 0 <= ticks[0] <= min(values) <= max(values) <= ticks[-1] <= 100
    assert 2 <= len(ticks) <= 7


def test_written_page_replaces_the_old_one_whole(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    write_report(
        path,
        title="run \udcff",  # from a file name that is not UTF-8
        config_text="",
        arms={"main": [metrics(0)]},
        shown=[game()],
    )
    assert path.read_text().endswith("</html>")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_scalars_skip_what_is_no_number():
    found = dict(
        tensorboard.scalars(
            {
                "iteration": 3,
                "a": 1,
                "b": None,
                "c": float("inf"),
                "d": True,
                "e": {"f": 2.5},
            }
        )
    )
    assert found == {"a": 1.0, "e/f": 2.5}


def test_a_step_written_again_leaves_one_file(tmp_path):
    for step in (1, 2, 2):
        tensorboard.write_scalars(tmp_path, {"a": 0.5}, step)
    names = sorted(p.name.rpartition(".")[2] for p in tmp_path.iterdir())
    assert names == ["step_00001", "step_00002"]


def test_time_bars_share_one_scale():
    arms = {
        "main": [
            metrics(0, phase_seconds={"train": 25.0}),
            metrics(1, phase_seconds={"play": 75.0, "train": 25.0}),
        ]
    }
    bars = page(arms).split('class="stack"')[1:]
    widths = [re.findall(r'style="width:([\d.]+)%"', bar) for bar in bars]
    assert widths == [["25.00"], ["75.00", "25.00"]]


# Candidates that are no games -------------------------------------------------


def candidate(kept=True, text="a red ring", true=None, images=1):
    def draw():
        return np.zeros((8, 8, 3), np.uint8)

    lines = [("chosen", text, true)]
    pictures = [Picture("blurred", draw)] * images
    return CandidateView("Pair 17", 1, kept, "how sure", pictures, lines)


def test_candidates_are_shown_as_kept_and_dropped():
    html = page(games=[candidate(), candidate(kept=False), candidate()])
    assert '<h2>Kept <span class="count">2 shown' in html
    assert '<h2>Dropped <span class="count">1 shown' in html
    assert "Pair 17" in html and "how sure" in html
    assert "<figcaption>blurred</figcaption>" in html


def test_no_text_of_a_candidate_becomes_markup():
    assert HOSTILE not in page(games=[candidate(text=HOSTILE)])


def test_a_candidate_of_text_alone_has_no_picture():
    html = page(games=[candidate(images=0)])
    assert "Pair 17" in html and 'class="pictures"' not in html


def test_whether_a_line_is_true_is_marked_where_it_is_known():
    assert 'aria-label="false"' in page(games=[candidate(true=False)])
    assert 'aria-label="true"' not in page(games=[candidate()])


def test_measures_that_were_taken_are_shown_beside_the_headline_ones():
    arms = {"main": [metrics(0, vqa_choice=30.0), metrics(1, vqa_choice=35.0)]}
    assert "Multiple choice" in page(arms)
    assert "choice" in summary.format_table(arms)
    assert "Multiple choice" not in page()


def test_the_contact_sheet_shows_every_set_and_marks_its_target():
    pictures = [np.full((4, 4, 3), i, np.uint8) for i in range(4)]
    sets = [
        SetView(pictures[:2], [HOSTILE, "b"], 1),
        SetView(pictures[2:], ["c", "d"], 0),
    ]
    text = render("t", "{}", {"main": [metrics(0)]}, [], sets=sets)
    sheet = text[text.index('id="sets"') : text.index('id="run"')]
    assert sheet.count('class="pictures"') == 2
    found = re.findall(r'<figure class="(\w*)" title="([^"]*)"', sheet)
    assert [name for mark, name in found if mark == "target"] == ["b", "c"]
    assert HOSTILE not in text and len(found) == 4


def test_without_sets_there_is_no_contact_sheet():
    assert 'id="sets"' not in render("t", "{}", {"main": [metrics(0)]}, [])


# A user's own images ----------------------------------------------------------


def own(game_images=5):
    return {"main": [metrics(i, game_images=game_images) for i in (0, 1)]}


def test_of_own_images_the_games_come_first_and_questions_say_otherwise():
    first, second, *others = story.tell(own(), own_images=True)
    assert first.startswith("After 1 iteration game success on your images")
    assert second == ("It was measured on 5 held-out images: too few to tell.")
    asked = [s for s in others if "accuracy" in s.lower()]
    assert len(asked) == 3
    assert all("not on your images" in s for s in asked)


def test_every_place_tells_what_was_not_measured_on_own_images():
    html = page(own(), own_images=True)
    tiles = html[html.index('class="tiles"') : html.index('id="figures"')]
    assert tiles.count("on rendered scenes, not on your images") == 3
    assert "on your images; 5 held-out images: too few to tell" in tiles
    head = html[html.index('id="figures"') : html.index('id="curves"')]
    assert head.count("(rendered scenes)</th>") == 3
    table = summary.format_table(own(), own_images=True)
    assert table.splitlines()[0].count("*") == 3
    legend = summary.format_legend(own(), own_images=True)
    assert "* on rendered scenes, not on your images" in legend
    assert "not on your images" not in page(own())


def test_enough_held_out_images_are_not_called_too_few():
    many = own(game_images=measures.FEW)
    assert "too few" not in page(many, own_images=True)


def test_the_words_of_this_run_are_explained_and_no_others():
    arms = {
        "main": [metrics(1, filters={"views": {"kept": 1, "of": 2}})],
        "unfiltered": [metrics(1)],
    }
    html = page(arms, [game()], chance=25.0)
    found = re.findall(r"<dt>([^<]*)</dt><dd>", html)
    for word in ("main", "unfiltered", "views", "lift", "before asking"):
        assert word in found
    assert "shuffled" not in found and "reshuffled" not in found
    assert "chance is 25.0 %" in html


def test_the_sign_of_percent_stands_clear_of_the_highest_number():
    chart = svg.line_chart({"main": [(0, 100.0)]}, "")
    percent = float(re.search(r'y="([\d.]+)">%<', chart)[1])
    highest = float(re.search(r'y="([\d.]+)"[^>]*>100<', chart)[1])
    assert highest - percent > 12
