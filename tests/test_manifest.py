"""Manifests: what they may say, and what is told of one that is wrong."""

import json

import fsspec
import numpy as np
import pytest
from PIL import Image

from vlm_games.data.docci import open_docci
from vlm_games.data.file_source import open_folder
from vlm_games.data.manifest import ManifestError, open_manifest


@pytest.fixture
def folder(tmp_path):
    """f/0.png ... f/5.png, of six greys, in a folder of its own."""
    folder = tmp_path / "data"
    (folder / "f").mkdir(parents=True)
    for i in range(6):
        grey(40 * i).save(folder / "f" / f"{i}.png")
    return folder


def grey(value: int) -> Image.Image:
    return Image.new("RGB", (20, 10), (value, value, value))


def jsonl(folder, *rows):
    path = folder / "list.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_rows_are_images_in_their_order_with_what_is_known(folder):
    path = jsonl(
        folder,
        {"path": "f/3.png", "id": "c", "episode": "e", "step": 4, "task": "t"},
        {"path": "f/1.png", "cluster": 7, "success": True},
        {"path": "f/2.png", "cluster": 7, "episode": "e", "step": 2},
    )
    source = open_manifest(path, 8)
    assert source.names == ("c", "f/1.png", "f/2.png")
    assert [int(image[0, 0, 0]) for image in source] == [120, 40, 80]
    groups = source.groups
    assert groups.clusters.tolist() == [-1, 0, 0]
    assert groups.episodes.tolist() == [0, -1, 0]
    assert groups.tasks.tolist() == [0, -1, -1]
    assert groups.steps.tolist() == [4, 1, 2]
    assert groups.units.tolist() == [0, 1, 0]
    assert not hasattr(groups, "success")


def test_csv_says_the_same(folder):
    rows = [
        {"path": "f/3.png", "id": "c", "episode": "e", "step": 4},
        {"path": "f/1.png", "cluster": "x"},
    ]
    text = "\ufeffpath,id,episode,step,cluster\nf/3.png,c,e,4,\nf/1.png,,,,x\n"
    (folder / "list.csv").write_text(text)
    one = open_manifest(folder / "list.csv", 8)
    assert one.digest() == open_manifest(jsonl(folder, *rows), 8).digest()


def test_digest_changes_with_metadata(folder):
    row = {"path": "f/1.png"}
    digests = {
        open_manifest(jsonl(folder, row), 8).digest(),
        open_manifest(jsonl(folder, row | {"cluster": "a"}), 8).digest(),
        open_manifest(jsonl(folder, row | {"step": 3}), 8).digest(),
    }
    assert len(digests) == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"path": "f/1.png"}\n{"path": "f/1.png', "line 2: not JSON"),
        ("[1]\n", "line 1: expected an object"),
        ('{"file": "f/1.png"}\n', "line 1: path is None"),
        ('\n{"path": 3}\n', "line 2: path is 3"),
        ('{"path": "f/9.png"}\n', "line 1: there is no file .*f/9.png"),
        ('{"path": "f/1.png", "step": "x"}\n', "line 1: step is 'x'"),
        ('{"path": "f/1.png", "cluster": [1]}\n', "line 1: cluster is"),
        ('{"path": "f/1.png"}\n' * 2, "line 2: the id .* of .*line 1"),
        ("", "none of its 0 rows"),
    ],
)
def test_a_wrong_row_is_named_by_file_and_line(folder, content, message):
    path = folder / "list.jsonl"
    path.write_text(content)
    with pytest.raises(ManifestError, match=rf"list\.jsonl.*{message}"):
        open_manifest(path, 8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,id\nf/1.png,a\n", "line 1: no column 'path'"),
        ("path,id\nf/1.png,a,b\n", "line 2: not as many cells"),
        ("path,id\nf/1.png\n", "line 2: not as many cells"),
        ("path,step\nf/1.png,1.5\n", "line 2: step is '1.5'"),
    ],
)
def test_a_wrong_csv_is_named_by_file_and_line(folder, content, message):
    (folder / "list.csv").write_text(content)
    with pytest.raises(ManifestError, match=rf"list\.csv.*{message}"):
        open_manifest(folder / "list.csv", 8)


def test_paths_do_not_leave_the_folder_unless_the_user_allows_it(folder):
    outside = folder.parent / "outside.png"
    grey(9).save(outside)
    (folder / "link.png").symlink_to(outside)
    (folder / "up").symlink_to(folder.parent)
    for named in (str(outside), "../outside.png", "link.png", "up/outside.png"):
        path = jsonl(folder, {"path": named})
        with pytest.raises(ManifestError, match="line 1.* leaves the folder"):
            open_manifest(path, 8)
        assert open_manifest(path, 8, absolute=True)[0][0, 0, 0] == 9


def test_a_link_within_the_folder_is_read(folder):
    (folder / "link.png").symlink_to(folder / "f" / "2.png")
    assert len(open_manifest(jsonl(folder, {"path": "link.png"}), 8)) == 1


def test_a_manifest_that_is_not_there_says_where_it_was_looked_for(folder):
    with pytest.raises(FileNotFoundError, match="no manifest .*none.csv"):
        open_manifest(folder / "none.csv", 8)


@pytest.mark.parametrize("limit", [0, 2**20])
def test_unreadable_images_are_skipped_and_named_by_their_line(folder, limit):
    (folder / "f" / "0.png").write_text("no image")
    path = jsonl(folder, {"path": "f/0.png"}, {"path": "f/1.png"})
    source = open_manifest(path, 8, memory_limit=limit)
    assert source.names == ("f/1.png",) and source[0][0, 0, 0] == 40
    [skipped] = source.skipped
    assert "list.jsonl, line 1: " in skipped.path
    assert "not an image" in skipped.reason


# DOCCI -----------------------------------------------------------------------


def docci(tmp_path):
    """Five photographs as DOCCI's owners publish them."""
    (tmp_path / "images").mkdir()
    lines = []
    for i, (split, cluster) in enumerate(
        [("train", 4), ("train", 4), ("test", 4), ("train", None), ("train", 9)]
    ):
        name = f"{split}_{i:05d}"
        grey(40 * i).save(tmp_path / "images" / f"{name}.jpg", quality=95)
        row = {"example_id": name, "cluster_id": cluster, "entity_tags": []}
        lines.append(json.dumps(row) + "\n")
    (tmp_path / "docci_metadata.jsonlines").write_text("".join(lines))
    return str(tmp_path)


def test_docci_gives_the_photographs_of_a_split_in_clusters(tmp_path):
    source = open_docci(docci(tmp_path), "train", 8)
    assert source.names[0] == "train_00000" and len(source) == 4
    assert source.groups.clusters.tolist() == [0, 0, -1, 1]
    assert abs(int(source[1][0, 0, 0]) - 40) < 3


def test_docci_says_what_to_get(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"docci_images\.tar\.gz"):
        open_docci(str(tmp_path), "train", 8)
    with pytest.raises(ManifestError, match="it has train, test"):
        open_docci(docci(tmp_path), "validation", 8)


# Remote files ----------------------------------------------------------------


@pytest.fixture
def bucket(folder, monkeypatch):
    """gs://bucket holds what `folder` does, in memory."""
    from etils.epath import backend

    files = fsspec.filesystem("memory")
    for path in (folder / "f").iterdir():
        files.pipe(f"/bucket/f/{path.name}", path.read_bytes())

    class Bucket(type(files)):
        protocol = "gs"
        store, pseudo_dirs = files.store, files.pseudo_dirs

        @classmethod
        def _strip_protocol(cls, path):
            return super()._strip_protocol(path.replace("gs://", "/"))

    monkeypatch.setattr(backend.fsspec_backend, "fs", lambda path: Bucket())
    yield files
    files.store.clear()


def test_a_folder_in_a_bucket_is_read(bucket):
    bucket.pipe("/bucket/f/notes.txt", b"no image")
    source = open_folder("gs://bucket/f", 8)
    assert source.names == tuple(f"{i}.png" for i in range(6))
    assert int(source[2][0, 0, 0]) == 80
    assert [s.path for s in source.skipped] == ["gs://bucket/f/notes.txt"]
    assert len(open_folder("gs://bucket/**/[12].png", 8)) == 2


def test_a_manifest_in_a_bucket_is_read(bucket):
    bucket.pipe("/bucket/list.jsonl", b'{"path": "f/3.png", "cluster": "a"}')
    source = open_manifest("gs://bucket/list.jsonl", 8)
    np.testing.assert_array_equal(source[0], np.full((8, 8, 3), 120))
    bucket.pipe("/bucket/list.jsonl", b'{"path": "gs://other/3.png"}')
    with pytest.raises(ManifestError, match="leaves the folder"):
        open_manifest("gs://bucket/list.jsonl", 8)
