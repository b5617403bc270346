"""Images ahead of their use, on disk, and by what the config says."""

import os
import sys
import threading

import ml_collections
import numpy as np
import pytest
from PIL import Image

from vlm_games.data.disk_cache import CachedSource
from vlm_games.data.fetch import AHEAD, fetch, pieces
from vlm_games.data.file_source import open_folder
from vlm_games.data.images import Groups, Subset
from vlm_games.data.opening import open_source, split_name


class Counted:
    """A source of 4 x 4 greys that counts what is asked for."""

    def __init__(self, count: int):
        self.names = tuple(str(i) for i in range(count))
        self.groups = Groups.unknown(count)
        self.asked = []

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> np.ndarray:
        if index >= len(self):
            raise IndexError(index)
        self.asked.append(index)
        return np.full((4, 4, 3), index, np.uint8)

    def digest(self) -> str:
        return "counted"


def greys(images) -> list[int]:
    return [int(image[0, 0, 0]) for image in images]


# Ahead of their use ----------------------------------------------------------


def test_images_are_fetched_in_order_by_several_threads():
    together = threading.Barrier(4, timeout=60)

    class Meeting(Counted):
        def __getitem__(self, index):
            together.wait()  # until four threads are here
            return super().__getitem__(index)

    indices = [7, 3, 3, 49, *range(20)]
    assert greys(fetch(Meeting(50), indices, workers=4)) == indices


def test_pieces_hold_all_and_no_more_than_a_few_are_decoded_ahead():
    source, found = Counted(100), []
    for piece in pieces(source, range(100), 8, workers=2):
        found += greys(piece)
        assert len(source.asked) <= min(len(found) + 8 * (1 + AHEAD), 100)
    assert found == list(range(100))


def test_who_stops_half_way_waits_for_nobody():
    source = Counted(100)
    for _ in pieces(source, range(100), 8, workers=2):
        break
    assert len(source.asked) <= 8 * (2 + AHEAD)


def test_an_image_that_cannot_be_read_is_an_error_where_it_is_used():
    with pytest.raises(IndexError):
        list(pieces(Counted(3), range(4), 2))


# On disk ---------------------------------------------------------------------


def test_a_square_is_decoded_once_for_all_processes(tmp_path):
    source = Counted(5)
    cached = CachedSource(source, tmp_path, 4)
    assert greys([cached[3], cached[3], cached[-2], cached[0]]) == [3, 3, 3, 0]
    assert source.asked == [3, 0]
    again = CachedSource(Counted(5), tmp_path, 4)
    assert greys([again[3]]) == [3] and again.source.asked == []
    with pytest.raises(ValueError, match="read-only"):
        cached[3][0, 0, 0] = 1
    with pytest.raises(IndexError):
        cached[5]


def test_a_square_that_was_cut_short_is_decoded_again(tmp_path):
    CachedSource(Counted(5), tmp_path, 4)[3]
    [squares] = tmp_path.glob("*.squares")
    with open(squares, "r+b") as file:
        file.seek(3 * 48 + 7)
        file.write(b"\xff")
    source = Counted(5)
    cached = CachedSource(source, tmp_path, 4)
    assert greys([cached[3], cached[3]]) == [3, 3] and source.asked == [3]


def test_a_black_square_is_kept_like_any_other(tmp_path):
    source = Counted(1)
    cached = CachedSource(source, tmp_path, 4)
    assert greys([cached[0], cached[0]]) == [0, 0] and source.asked == [0]


def test_other_images_have_another_cache(tmp_path):
    source = Counted(5)
    for part in (Subset(source, (0, 1)), Subset(source, (1, 0))):
        assert greys(CachedSource(part, tmp_path, 4)) == list(part.indices)


# By the config ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ("/data/photos", ("", "/data/photos", "")),
        ("gs://bucket/a", ("", "gs://bucket/a", "")),
        ("tfds:coco/2017", ("tfds", "coco/2017", "train")),
        ("tfds:coco/2017:test[:9]", ("tfds", "coco/2017", "test[:9]")),
        ("docci:/data/d:qual_dev", ("docci", "/data/d", "qual_dev")),
        ("hf:gs://a/b:train", ("hf", "gs://a/b", "train")),
    ],
)
def test_what_the_config_names_is_taken_apart(named, expected):
    assert split_name(named) == expected


def config(images, **changes) -> ml_collections.ConfigDict:
    fields = dict(images=str(images), tfds_dir="", image_paths="inside")
    fields |= dict(image_workers=0, image_cache="")
    return ml_collections.ConfigDict(fields | changes)


def test_the_config_opens_a_folder_and_keeps_its_squares(tmp_path):
    (tmp_path / "a").mkdir()
    Image.new("RGB", (9, 9), (1, 2, 3)).save(tmp_path / "a" / "x.png")
    (tmp_path / "a" / "y.txt").write_text("no image")
    cache = str(tmp_path / "cache")
    source, skipped = open_source(config(tmp_path / "a", image_cache=cache), 8)
    assert list(source.names) == ["x.png"] and "y.txt" in skipped[0]
    assert source[0][0, 0].tolist() == [1, 2, 3]
    assert source.digest() == open_folder(tmp_path / "a", 8).digest()
    assert len(os.listdir(cache)) == 2


def test_the_config_says_whether_a_manifest_may_lead_elsewhere(tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "x.png")
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "list.csv"
    path.write_text(f"path\n{tmp_path}/x.png\n")
    with pytest.raises(ValueError, match="config.image_paths='any'"):
        open_source(config(path), 8)
    source, _ = open_source(config(path, image_paths="any"), 8)
    assert len(source) == 1


# Hugging Face ----------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A dataset as save_to_disk writes it, with labels that nobody reads."""
    datasets = pytest.importorskip("datasets")
    images = [Image.new("RGB", (20, 10), (40 * i, 0, 0)) for i in range(4)]
    rows = {
        "image": images,
        "id": ["a", "b", "c", "d"],
        "cluster": ["x", "y", None, "x"],
        "step": [3, 2, None, 0],
        "label": [0, 1, 0, 1],
    }
    made = datasets.Dataset.from_dict(rows).cast_column(
        "image", datasets.Image()
    )
    path = tmp_path_factory.mktemp("hf") / "saved"
    made.save_to_disk(path)
    return path


@pytest.mark.slow
def test_a_dataset_of_hugging_face_is_read(saved):
    source, _ = open_source(config(f"hf:{saved}"), 8)
    assert source.names == ("a", "b", "c", "d")
    assert greys(source) == [0, 40, 80, 120]
    assert source.groups.clusters.tolist() == [0, 1, -1, 0]
    assert source.groups.steps.tolist() == [3, 2, 2, 0]
    assert source.groups.units.tolist() == [0, 1, 2, 0]
    assert greys(fetch(source, [3, 1] * 20, 4)) == [120, 40] * 20
    with pytest.raises(IndexError):
        source[4]


@pytest.mark.slow
def test_a_dataset_that_is_not_there_is_named(tmp_path):
    pytest.importorskip("datasets")
    with pytest.raises(ValueError, match="Give hf:<name of the hub"):
        open_source(config(f"hf:{tmp_path}/none:train"), 8)


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match=r"vlm_games\[hf\]"):
        open_source(config("hf:beans:train"), 8)
