"""The world draws what it says, and its answers are true."""

import dataclasses

import numpy as np
import pytest

from vlm_games.worlds.questions import (
    BY_TEXT,
    QUESTIONS,
    VOCABULARY,
    answers,
    caption,
)
from vlm_games.worlds.render import render
from vlm_games.worlds.scenes import (
    COLORS,
    COUNTS,
    PLACES,
    SHAPES,
    SIZES,
    SOURCE,
    TARGET,
    Scene,
    SceneObject,
)
from vlm_games.worlds.splits import SPLITS, load_split
from vlm_games.worlds.style import CLEAN, WILD

DOMAINS = pytest.mark.parametrize("split", ["source/test", "target/test"])


def _scene(*objects: str) -> Scene:
    """A scene from words: "large red circle top-left"."""
    made = []
    for words in objects:
        size, color, shape, place = words.split()
        made.append(SceneObject(shape, color, size, place, 0.0, 0.0))
    return Scene(tuple(made))


def _draw(*objects: str, style=CLEAN, size: int = 32) -> np.ndarray:
    return render([_scene(*objects)], style, [0], size)[0]


def _ask(text: str, scene: Scene) -> set[str]:
    return set(answers(BY_TEXT[text], scene))


@DOMAINS
def test_a_split_is_the_same_whenever_loaded(split):
    scenes, images = load_split(split, 20)
    again, images_again = load_split(split, 20)
    assert scenes == again
    np.testing.assert_array_equal(images, images_again)


@DOMAINS
def test_an_image_does_not_depend_on_its_neighbours(split):
    scenes, images = load_split(split, 140)
    for i in (0, 7, 139):
        [scene], [image] = load_split(split, 1, start=i)
        assert scene == scenes[i]
        np.testing.assert_array_equal(image, images[i])


def test_every_scene_makes_its_own_image():
    for split in ("source/test", "target/test"):
        _, images = load_split(split, 100)
        assert len({image.tobytes() for image in images}) == 100


def test_no_two_splits_share_a_seed():
    assert len({split.seed for split in SPLITS.values()}) == len(SPLITS)


def test_splits_refuse_what_they_lack():
    with pytest.raises(KeyError, match="target/play"):
        load_split("target/train")
    with pytest.raises(ValueError, match="0 to 999"):
        load_split("target/validation", 10, start=995)


@DOMAINS
def test_objects_never_share_a_quadrant(split):
    for scene in load_split(split, 300)[0]:
        places = [PLACES.index(o.place) for o in scene.objects]
        assert 1 <= len(places) <= 3
        assert places == sorted(set(places))


def test_the_source_is_skewed_and_the_target_is_not():
    for split, domain in (("source/train", SOURCE), ("target/play", TARGET)):
        scenes, _ = load_split(split, 3000, size=2)
        colors = [o.color for scene in scenes for o in scene.objects]
        shapes = [o.shape for scene in scenes for o in scene.objects]
        counts = [COUNTS[len(scene.objects) - 1] for scene in scenes]
        for found, words, weights in (
            (colors, COLORS, domain.color_weights),
            (shapes, SHAPES, domain.shape_weights),
            (counts, COUNTS, domain.count_weights),
        ):
            shares = [found.count(word) / len(found) for word in words]
            np.testing.assert_allclose(shares, weights, atol=0.03)


@pytest.mark.parametrize("size", [32, 64, 128])
def test_images_come_in_any_even_size(size):
    image = _draw("large red circle top-left", style=WILD, size=size)
    assert image.shape == (size, size, 3)
    assert image.dtype == np.uint8


def test_render_refuses_odd_sizes_and_missing_seeds():
    with pytest.raises(ValueError, match="33"):
        _draw("large red circle top-left", size=33)
    with pytest.raises(ValueError, match="0 seeds"):
        render([_scene("large red circle top-left")], CLEAN, [])


@pytest.mark.parametrize("place", PLACES)
def test_an_object_changes_its_own_quadrant_only(place):
    image = _draw(f"large blue square {place}").astype(int)
    coloured = np.ptp(image, axis=-1).reshape(2, 16, 2, 16).max((1, 3)) > 50
    row, column = divmod(PLACES.index(place), 2)
    expected = np.zeros((2, 2), bool)
    expected[row, column] = True
    np.testing.assert_array_equal(coloured, expected)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "size, low, high", [("small", 8, 10), ("large", 12, 14)]
)
def test_sizes_differ_by_pixels(shape, size, low, high):
    image = _draw(f"{size} red {shape} bottom-left").astype(int)
    columns = (np.ptp(image, axis=-1) > 90).any(0)  # about half covered
    assert low <= columns.sum() <= high


def test_shapes_look_different():
    images = [
        _draw(f"small blue {shape} top-left").astype(float) for shape in SHAPES
    ]
    for i, image in enumerate(images):
        for other in images[:i]:
            # Sum over pixels of the part of full contrast that differs.
            assert np.abs(image - other).sum() / (3 * 255) > 3


@pytest.mark.parametrize("style", [CLEAN, WILD])
def test_colors_of_a_domain_are_told_apart_by_the_nearest_mean(style):
    """By hue alone, averaged over an object: a human sees the name."""
    n = 60
    style = dataclasses.replace(style, bar_probability=0.0)

    def chroma(color: str, seed: int) -> np.ndarray:
        scenes = [_scene(f"large {color} square top-left")] * n
        seeds = [(seed, i) for i in range(n)]
        rgb = render(scenes, style, seeds)[:, 5:11, 5:11].mean((1, 2))
        rgb = rgb - rgb.mean(1, keepdims=True)
        return rgb / np.linalg.norm(rgb, axis=1, keepdims=True)

    means = np.stack([chroma(color, 0).mean(0) for color in COLORS])
    for i, color in enumerate(COLORS):
        right = (chroma(color, 1) @ means.T).argmax(1) == i
        assert right.mean() > 0.85, color


def test_bars_cross_as_many_images_as_the_style_says():
    style = dataclasses.replace(CLEAN, bar_probability=0.4)
    scenes = [_scene("small red circle top-left")] * 400
    seeds = list(range(400))
    differs = render(scenes, style, seeds) != render(scenes, CLEAN, seeds)
    share = differs.any((1, 2, 3)).mean()
    assert 0.33 < share < 0.47


def test_a_knob_changes_nothing_else():
    """The draws of one knob are not moved by another's being off."""
    noisy = dataclasses.replace(WILD, clutter=0, blur=(0.0, 0.0))
    scenes = [_scene("small red circle top-left")] * 20
    quiet = dataclasses.replace(noisy, bar_probability=0.0)
    seeds = list(range(20))
    same = render(scenes, noisy, seeds) == render(scenes, quiet, seeds)
    # Outside the bar (3 of 32 lines, 2 more at its soft edges) all is equal.
    assert same.all(-1).mean((1, 2)).min() > 1 - 6 / 32


def test_questions_are_the_ones_agreed():
    assert len(BY_TEXT) == len(QUESTIONS) == 186
    assert sum(question.yes_no for question in QUESTIONS) == 150


def test_every_word_is_in_the_vocabulary():
    scenes, _ = load_split("target/test", 50)
    said = {word for q in QUESTIONS for word in q.text.split()}
    for scene in scenes:
        said |= set(caption(scene).split())
        said |= {word for q in QUESTIONS for word in answers(q, scene)}
    assert said <= set(VOCABULARY)
    assert list(VOCABULARY) == sorted(set(VOCABULARY))


def test_answers_are_of_the_kind_asked_for():
    allowed = {
        "color": COLORS,
        "shape": SHAPES,
        "place": PLACES,
        "size": SIZES,
        "how": COUNTS,
    }
    scenes, _ = load_split("target/test", 50)
    for question in QUESTIONS:
        for scene in scenes:
            found = answers(question, scene)
            assert found
            if question.yes_no:
                assert found in ({"yes"}, {"no"})
            else:
                words = allowed[question.kind.split("_")[0]]
                assert found <= set(words) or found == {"none"}


def test_yes_no_answers_are_true():
    scene = _scene("large red circle top-left", "small blue ring bottom-right")
    for text, expected in (
        ("is there a red object ?", "yes"),
        ("is there a green object ?", "no"),
        ("is there a ring ?", "yes"),
        ("is there a cross ?", "no"),
        ("is there a red circle ?", "yes"),
        ("is there a red ring ?", "no"),  # both are there, not in one object
        ("is there a red object at the top-left ?", "yes"),
        ("is there a red object at the bottom-right ?", "no"),
        ("is there a ring at the bottom-right ?", "yes"),
        ("is there a ring at the top-left ?", "no"),
        ("are there two objects ?", "yes"),
        ("is there one object ?", "no"),
        ("are there three objects ?", "no"),
        ("is there a red object left of a blue object ?", "yes"),
        ("is there a blue object left of a red object ?", "no"),
        ("is there a red object above a blue object ?", "yes"),
        ("is there a blue object above a red object ?", "no"),
    ):
        assert _ask(text, scene) == {expected}, text


def test_relations_are_strict():
    column = _scene("large red circle top-left", "small blue ring bottom-left")
    for first, second in (("red", "blue"), ("blue", "red")):
        text = f"is there a {first} object left of a {second} object ?"
        assert _ask(text, column) == {"no"}


def test_either_of_two_alike_will_do():
    scene = _scene(
        "large red circle top-left",
        "small blue circle top-right",
        "large red ring bottom-right",
    )
    assert _ask("what color is the circle ?", scene) == {"red", "blue"}
    assert _ask("what size is the circle ?", scene) == {"large", "small"}
    assert _ask("what shape is the red object ?", scene) == {"circle", "ring"}
    assert _ask("where is the red object ?", scene) == {
        "top-left",
        "bottom-right",
    }
    assert _ask("how many objects are there ?", scene) == {"three"}


def test_open_questions_about_nothing_are_answered_none():
    scene = _scene("large red circle top-left")
    for text in (
        "what color is the cross ?",
        "what shape is the blue object ?",
        "what color is the object at the top-right ?",
        "what shape is the object at the top-right ?",
        "where is the ring ?",
        "what size is the ring ?",
    ):
        assert _ask(text, scene) == {"none"}, text


def test_a_caption_names_every_object():
    scene = _scene("large red circle top-left", "small blue ring bottom-right")
    assert caption(scene) == (
        "a large red circle at the top-left ,"
        " a small blue ring at the bottom-right ."
    )
