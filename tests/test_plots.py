"""Drawings say what the figures say: words, bars, curves, gains."""

import json
import subprocess
import sys

import made_run
import numpy as np
import pytest

from vlm_games.data.images import RenderedSource
from vlm_games.report import comparison
from vlm_games.report.gallery import GameView

plots = pytest.importorskip("vlm_games.report.plots")


@pytest.fixture(scope="module")
def views():
    """Won and kept; lost; aborted at once; lost but kept."""
    images = RenderedSource("target/play", made_run.IMAGES, 32)
    return [
        GameView(json.loads(g.to_json()), [images[i] for i in g.images])
        for g in made_run.games(1)
    ]


def words(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def lengths(figure, colour) -> list[float]:
    """Of the bars of a colour, from 0 to 1, in order."""
    from matplotlib.colors import to_hex

    return [
        round(bar.get_width() / 0.56, 3)
        for bar in figure.axes[0].patches
        if to_hex(bar.get_facecolor()) == colour and bar.get_fill()
    ]


def test_a_game_shows_its_images_words_and_belief(views):
    figure = plots.draw_game(views[0])
    assert len(figure.axes[0].images) == 4
    found = words(figure)
    assert {"is there a red object ?", "yes  ✓", "2, target, guessed"} <= set(
        found
    )
    beliefs = [p for turn in views[0].record["turns"] for p in turn["belief"]]
    assert lengths(figure, plots.COLOURS[0]) == beliefs
    assert not lengths(figure, plots.COLOURS[1])


def test_a_game_can_be_stopped_before_its_end(views):
    chances = np.array([[0.7, 0.1, 0.1, 0.1]] * 2)
    figure = plots.draw_game(views[0], chances, turns=1)
    found = words(figure)
    assert "is there a ring ?" not in found and "2, target" in found
    assert lengths(figure, plots.COLOURS[1]) == [0.7, 0.1, 0.1, 0.1]
    nothing = words(plots.draw_game(views[0], turns=0))
    assert nothing == ["1", "2, target", "3", "4"]


def test_a_false_answer_a_wrong_guess_and_a_broken_rule_are_told(views):
    found = words(plots.draw_game(views[1]))
    assert "no  ✗" in found and "1, guessed" in found
    assert "no question or guess found" in words(plots.draw_game(views[2]))


def test_there_is_a_curve_per_arm_that_begins_at_the_base():
    arms = {
        "main": [made_run.metrics(i) for i in range(3)],
        "control": [made_run.metrics(2) | {"vqa_other": None}],
    }
    places = plots.draw_curves(arms).axes
    assert len(places) == 4
    drawn = {
        axes.get_title(loc="left"): {
            line.get_label(): line.get_xydata().tolist() for line in axes.lines
        }
        for axes in places
    }
    rises = [[0.0, 50.0], [1.0, 51.0], [2.0, 52.0]]
    assert drawn["Game success, %"] == {
        "main": rises,
        "control": [rises[0], rises[2]],
    }
    assert drawn["Other questions, %"] == {"main": rises}


def test_a_method_is_drawn_with_its_gain_its_interval_and_its_control():
    def run(gain):
        last = made_run.metrics(1) | {"vqa_yes_no": 50.0 + gain}
        control = made_run.metrics(1) | {"vqa_yes_no": 49.0}
        return {"main": [made_run.metrics(0), last], "swapped": [control]}

    rows = comparison.rows({"stic": [run(1.0), run(3.0)], "text": [run(0.0)]})
    by_title = {
        axes.get_title(loc="left"): axes
        for axes in plots.draw_comparison(rows).axes
    }
    axes = by_title["Yes/no questions, points"]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["stic", "text"]
    drawn = [tuple(c.lines[0].get_xydata()[0]) for c in axes.containers]
    assert drawn == [(2.0, 0), (-1.0, 0), (0.0, 1), (-1.0, 1)]
    (width,) = comparison.gains(rows, "stic", "main", "vqa_yes_no")
    bar = axes.containers[0].lines[2][0].get_segments()[0]
    assert bar[1][0] - bar[0][0] == pytest.approx(2 * width["half_width"])


def test_without_matplotlib_the_extra_is_named():
    program = (
        "import sys\nsys.modules['matplotlib.axes'] = None\n"
        "import vlm_games.report.plots\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )
    assert "pip install 'vlm_games[notebooks]'" in found.stderr
