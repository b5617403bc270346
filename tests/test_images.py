"""Image sources: broken files, links, patterns, order, memory, copies."""

import io
import os
import pathlib
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from test_decode import flat, gradient

from vlm_games.data import decode
from vlm_games.data.file_source import open_folder
from vlm_games.data.images import RenderedSource, number
from vlm_games.data.scan import scan

PHOTOGRAPHS = pathlib.Path(__file__).parents[2] / "shared" / "images"


def png(width: int, height: int) -> bytes:
    """A PNG whose header alone says it is large."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0"))
        + chunk(b"IEND", b"")
    )


@pytest.fixture
def folder(tmp_path):
    """A folder with one good picture, a.png, to put others beside."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    gradient().save(folder / "a.png")
    return folder


def reasons(folder: pathlib.Path) -> dict[str, str]:
    """Relative path -> reason, of everything a scan skipped."""
    return {
        os.path.relpath(skip.path, folder): skip.reason
        for skip in open_folder(folder, 8).skipped
    }


# What is not readable --------------------------------------------------------


@pytest.mark.parametrize(
    "extension", ["jpg", "png", "gif", "bmp", "tiff", "webp"]
)
def test_truncated_file_is_skipped_with_its_path(folder, extension):
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    whole = io.BytesIO()
    name = {"jpg": "jpeg"}.get(extension, extension)
    Image.fromarray(noise).save(whole, format=name)
    path = folder / f"cut.{extension}"
    path.write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    found = open_folder(folder, 8)
    assert found.names == ("a.png",)
    assert [skip.path for skip in found.skipped] == [str(path)]
    assert found.skipped[0].reason


@pytest.mark.parametrize("name", ["b.jpg", "b", "b.txt"])
def test_content_counts_and_not_the_extension(folder, name):
    gradient().save(folder / name, format="webp", lossless=True)
    assert open_folder(folder, 8).names == ("a.png", name)


def test_text_named_jpg_is_not_an_image(folder):
    (folder / "b.jpg").write_text("<html>404 not found</html>")
    assert "not an image" in reasons(folder)["b.jpg"]


def test_empty_file_is_not_an_image(folder):
    (folder / "b.jpg").touch()
    assert "not an image" in reasons(folder)["b.jpg"]


def test_postscript_is_never_handed_to_ghostscript(folder):
    gradient().save(folder / "b.eps")
    assert "not an image" in reasons(folder)["b.eps"]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [50_000, 10_000])  # Pillow's error, warning
def test_bomb_is_reported_and_never_decoded(folder, monkeypatch, side):
    (folder / "b.png").write_bytes(png(side, side))
    decoded = []
    compose = decode._compose
    monkeypatch.setattr(
        decode,
        "_compose",
        lambda image, size: (
            decoded.append(image.filename) or compose(image, size)
        ),
    )
    assert list(reasons(folder)) == ["b.png"]
    assert "limit" in reasons(folder)["b.png"]
    assert not any("b.png" in os.fspath(name) for name in decoded)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bomb_is_refused_where_pillows_limit_is_off(folder, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    (folder / "b.png").write_bytes(png(50_000, 50_000))
    assert "limit" in reasons(folder)["b.png"]


def test_named_pipe_does_not_hang_the_scan(folder):
    os.mkfifo(folder / "b.jpg")
    assert reasons(folder) == {"b.jpg": "not a regular file"}


# Folders and links -----------------------------------------------------------


def test_subfolders_are_read_in_a_fixed_order(folder):
    (folder / "z" / "y").mkdir(parents=True)
    for name in ("z/y/1.png", "z/0.png", "B.png", "10.png", "9.png"):
        gradient().save(folder / name)
    names = ("10.png", "9.png", "B.png", "a.png", "z/0.png", "z/y/1.png")
    assert open_folder(folder, 8, workers=1).names == names
    assert open_folder(folder, 8, workers=4).names == names


def test_indices_pass_over_unreadable_files(folder):
    """An unreadable file first: everything after it must move up by one."""
    (folder / "0.png").write_text("no image")
    flat("RGB", (1, 2, 3)).save(folder / "b.png")
    for limit in (0, 2**20):
        source = open_folder(folder, 8, memory_limit=limit)
        assert source.names == ("a.png", "b.png") and len(source) == 2
        assert source[1][4, 4].tolist() == [1, 2, 3]


def test_link_out_of_the_folder_is_skipped(folder):
    gradient().save(folder.parent / "outside.png")
    (folder / "b.png").symlink_to("../outside.png")
    (folder / "up").symlink_to("..")
    assert set(reasons(folder)) == {"b.png", "up"}
    assert all("leaves" in reason for reason in reasons(folder).values())


def test_link_to_a_sibling_folder_with_the_same_prefix_leaves(folder):
    """pictures2 is not inside pictures, whatever the strings say."""
    other = folder.with_name("pictures2")
    other.mkdir()
    gradient().save(other / "b.png")
    (folder / "b.png").symlink_to(other / "b.png")
    assert "leaves" in reasons(folder)["b.png"]


def test_link_to_a_file_read_already_gives_no_twin(folder):
    (folder / "0.png").symlink_to("a.png")
    assert open_folder(folder, 8).names == ("a.png",)
    assert "a.png" in reasons(folder)["0.png"]


def test_link_in_a_circle_and_broken_link_are_skipped(folder):
    (folder / "sub").mkdir()
    (folder / "sub" / "round").symlink_to("..")
    (folder / "gone.png").symlink_to("nowhere.png")
    assert open_folder(folder, 8).names == ("a.png",)
    assert "broken link" in reasons(folder)["gone.png"]
    assert "link to a folder" in reasons(folder)["sub/round"]


def test_folder_that_is_itself_a_link_is_read(folder):
    link = folder.parent / "link"
    link.symlink_to(folder)
    assert open_folder(link, 8).names == ("a.png",)


def test_hidden_entries_are_skipped_and_named(folder):
    gradient().save(folder / "._a.png")
    (folder / ".cache").mkdir()
    gradient().save(folder / ".cache" / "b.png")
    assert open_folder(folder, 8).names == ("a.png",)
    assert set(reasons(folder)) == {"._a.png", ".cache"}


def test_missing_folder_says_what_was_looked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no/such.*does not exist"):
        open_folder(tmp_path / "no" / "such", 8)


def test_file_instead_of_folder_says_so(folder):
    with pytest.raises(NotADirectoryError, match="is a file"):
        open_folder(folder / "a.png", 8)


def test_folder_without_images_says_what_it_found(tmp_path):
    with pytest.raises(ValueError, match="holds no readable image.*found 0"):
        open_folder(tmp_path, 8)
    (tmp_path / "labels.json").write_text("{}")
    with pytest.raises(ValueError, match=r"(?s)JPEG.*labels\.json: not an"):
        open_folder(tmp_path, 8)


# Memory, access, digest ------------------------------------------------------


def test_memory_limit_changes_no_pixel(folder):
    for i in range(5):
        gradient(40 + 7 * i, 33).save(folder / f"{i}.jpg")
    kept = open_folder(folder, 8, memory_limit=2**20)
    anew = open_folder(folder, 8, memory_limit=0)
    for i in range(len(kept)):
        np.testing.assert_array_equal(kept[i], anew[i])


def test_kept_images_stay_within_the_limit(folder):
    gradient().save(folder / "b.png")
    paths = [str(folder / name) for name in ("a.png", "b.png")]
    assert scan(paths, 8, memory_limit=2 * 8 * 8 * 3).images is not None
    assert scan(paths, 8, memory_limit=2 * 8 * 8 * 3 - 1).images is None


def test_each_file_is_decoded_once_when_images_are_kept(folder, monkeypatch):
    calls = []
    original = decode.decode_square
    monkeypatch.setattr(
        decode,
        "decode_square",
        lambda path, size: calls.append(path) or original(path, size),
    )
    source = open_folder(folder, 8)
    assert source[0].shape == (8, 8, 3) and len(calls) == 1


@pytest.mark.parametrize("limit", [0, 2**20])
def test_source_is_a_sequence_of_read_only_arrays(folder, limit):
    source = open_folder(folder, 8, memory_limit=limit)
    assert len(list(source)) == 1  # ends with IndexError, as sequences do
    np.testing.assert_array_equal(source[np.int64(0)], source[-1])
    with pytest.raises(ValueError, match="read-only"):
        source[0][0, 0, 0] = 1


def test_file_spoilt_after_the_scan_is_named(folder):
    source = open_folder(folder, 8, memory_limit=0)
    (folder / "a.png").write_text("gone")
    with pytest.raises(
        decode.UnreadableImageError, match=r"a\.png looked like"
    ):
        source[0]


def test_a_larger_folder_is_indexed_by_its_headers(folder, monkeypatch):
    """Pixels are not decoded; what is cut short shows when it is asked for."""
    whole = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    Image.fromarray(noise).save(whole, "jpeg")
    (folder / "cut.jpg").write_bytes(whole.getvalue()[:1500])
    (folder / "text.jpg").write_text("no image")
    source = open_folder(folder, 8, memory_limit=0)
    assert source.names == ("a.png", "cut.jpg")
    assert [os.path.basename(s.path) for s in source.skipped] == ["text.jpg"]
    with pytest.raises(decode.UnreadableImageError, match=r"cut\.jpg.*Mend it"):
        source[1]


@pytest.mark.parametrize("limit", [0, 2**20])
def test_copies_are_known_whether_decoded_or_not(folder, limit):
    content = (folder / "a.png").read_bytes()
    (folder / "b.png").write_bytes(content)
    (folder / "c.png").write_bytes(content)
    flat("RGB", (1, 2, 3)).save(folder / "aa.png")
    source = open_folder(folder, 8, memory_limit=limit)
    assert source.names == ("a.png", "aa.png", "b.png", "c.png")
    assert source.groups.duplicates.tolist() == [0, 1, 0, 0]


def test_files_alike_at_both_ends_are_no_copies(folder):
    image = gradient(200, 200)
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (200, 200, 3), np.uint8))
    image.paste(noise, (0, 0))
    image.save(folder / "b.bmp")
    image.putpixel((100, 100), (1, 2, 3))
    image.save(folder / "c.bmp")
    source = open_folder(folder, 8, memory_limit=0)
    assert len(set(source.groups.duplicates.tolist())) == 3


def test_images_of_one_subfolder_are_a_cluster_and_an_episode(folder):
    for name in ("x/1.png", "x/2.png", "y/1.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        gradient().save(folder / name)
    groups = open_folder(folder, 8).groups
    assert groups.clusters.tolist() == [0, 1, 1, 2]
    assert groups.episodes.tolist() == [0, 1, 1, 2]
    assert groups.tasks.tolist() == [-1] * 4


def test_numbers_are_given_as_values_first_occur():
    assert number(["b", "a", None, "b", "c"]).tolist() == [0, 1, -1, 0, 2]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.png", ["a.png"]),
        ("**/*.png", ["a.png", "z/b.png", "z/y/left_1.png"]),
        ("**/left_?.png", ["z/y/left_1.png"]),
        ("z/*.png", ["b.png"]),
        ("[!a]*/*/*_[0-9].png", ["z/y/left_1.png"]),
    ],
)
def test_a_pattern_names_files(folder, pattern, names):
    (folder / "z" / "y").mkdir(parents=True)
    for name in ("z/b.png", "z/y/left_1.png", "z/c.jpg"):
        gradient().save(folder / name)
    source = open_folder(f"{folder}/{pattern}", 8)
    assert list(source.names) == names and not source.skipped


def test_a_pattern_that_names_nothing_says_where_it_looked(folder):
    with pytest.raises(ValueError, match=r"no readable image.*subfolders of"):
        open_folder(f"{folder}/*.webp", 8)


def test_digest_survives_moving_and_touching(folder):
    before = open_folder(folder, 8).digest()
    os.utime(folder / "a.png", (1, 1))
    (folder / "notes.txt").write_text("not an image")
    moved = folder.rename(folder.with_name("elsewhere"))
    assert open_folder(moved, 8).digest() == before


def test_digest_changes_with_what_is_behind_the_indices(folder):
    digests = {
        open_folder(folder, 8).digest(),
        open_folder(folder, 9).digest(),
    }
    gradient(9, 9).save(folder / "a.png")
    digests.add(open_folder(folder, 8).digest())
    (folder / "a.png").rename(folder / "b.png")
    digests.add(open_folder(folder, 8).digest())
    gradient().save(folder / "c.png")
    digests.add(open_folder(folder, 8).digest())
    assert len(digests) == 5


# Rendered scenes -------------------------------------------------------------


def test_rendered_source_gives_the_split(folder):
    source = RenderedSource("target/test", 3)
    assert len(source) == len(source.scenes) == 3
    assert source.names[2] == "target/test/00002"
    assert source[2].shape == (32, 32, 3) and source[2].dtype == np.uint8
    longer = RenderedSource("target/test", 5)
    np.testing.assert_array_equal(source[2], longer[2])


def test_rendered_digest_tells_splits_and_counts_apart():
    def digest(*args):
        return RenderedSource(*args).digest()

    assert digest("target/test", 2) == digest("target/test", 2)
    assert digest("target/test", 2) != digest("target/test", 3)
    assert digest("target/test", 2) != digest("source/test", 2)


# Real photographs ------------------------------------------------------------


@pytest.mark.skipif(not PHOTOGRAPHS.exists(), reason="no photographs here")
@pytest.mark.parametrize("name", ["ade20k", "clevr", "docci"])
def test_every_photograph_is_read(name):
    source = open_folder(PHOTOGRAPHS / name, 64)
    assert len(source) == 51 and not source.skipped
    assert all(image.std() > 5 for image in source)  # none is a flat field
