"""Inputs that nobody meant: each parser answers, or refuses in its own way.

    python tests/soak/fuzz.py --inputs=100000

TARGETS has, by name, what is drawn and a check that raises where a parser does
anything but answer or refuse. The last lines count the inputs that were tried.
tests/test_fuzz.py tries some of each.
"""

import argparse
import copy
import functools
import hashlib
import html.parser
import io
import json
import pathlib
import runpy
import struct
import sys
import tempfile
import time
import warnings
from collections.abc import Callable

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import hypothesis  # noqa: E402
import numpy as np  # noqa: E402
from absl import logging  # noqa: E402
from conftest import tiny_config  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from PIL import Image  # noqa: E402
from test_records import GAME  # noqa: E402
from test_report import game, metrics, page  # noqa: E402

from vlm_games import choices  # noqa: E402
from vlm_games.data import atomic, decode, shards  # noqa: E402
from vlm_games.data.records import GameRecord  # noqa: E402
from vlm_games.data.schema import RecordError  # noqa: E402
from vlm_games.games import choice  # noqa: E402
from vlm_games.games.instructions import Instructions  # noqa: E402
from vlm_games.games.prompts import Prompts, parse_move  # noqa: E402
from vlm_games.hub import stored  # noqa: E402
from vlm_games.methods import similarity, text_records  # noqa: E402
from vlm_games.models.checkpoint import read_config  # noqa: E402
from vlm_games.models.config import VLMConfig  # noqa: E402
from vlm_games.worlds import questions  # noqa: E402

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)
# What models say: words of the game, in any order, and anything else.
SAID = st.lists(
    st.sampled_from(
        ". ask guess summary yes no 1 2 0 99999999 ² A (b) B. answer : ? red"
        " [1,2,3,4] [0.5,1,0,9] <image> <eos> \n a large circle at the top-left"
        " situation question options rationale".split(" ")
    )
    | st.text(max_size=6),
    max_size=24,
).map(" ".join)


@st.composite
def changed_bytes(draw, sound: bytes) -> bytes:
    """`sound` with some bytes changed, cut out or put in."""
    found = bytearray(sound)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(found)))
        kind = draw(st.sampled_from(["change", "cut", "insert", "end"]))
        if kind == "insert":
            found[at:at] = draw(st.binary(max_size=8))
        elif kind == "end":
            del found[at:]
        else:
            new = draw(st.binary(max_size=4)) if kind == "change" else b""
            found[at : at + 4] = new
    return bytes(found)


@st.composite
def changed_json(draw, sound) -> str:
    """The JSON of `sound` with a value replaced, dropped or put in."""
    found = copy.deepcopy(sound)
    for _ in range(draw(st.integers(1, 3))):
        node = found
        while isinstance(node, (dict, list)) and node:
            at = (
                draw(st.sampled_from(sorted(node)))
                if isinstance(node, dict)
                else draw(st.integers(0, len(node) - 1))
            )
            inner = node[at]
            if (
                isinstance(inner, (dict, list))
                and inner
                and draw(st.booleans())
            ):
                node = inner
                continue
            node[at] = draw(JSON)
            if isinstance(node, dict) and draw(st.booleans()):
                node[draw(st.text(max_size=6))] = node.pop(at)
            break
    return json.dumps(found)


def picture(kind: str) -> bytes:
    """A small image, encoded."""
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (24, 20, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def tensors() -> bytes:
    """A safetensors file of one tensor."""
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    header = json.dumps({"a": entry}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(8)


FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="fuzz_"))


def written(content: bytes, name: str = "file") -> pathlib.Path:
    (FOLDER / name).write_bytes(content)
    return FOLDER / name


def refuses(parse: Callable, kind: type[Exception], *arguments):
    """What `parse` gives, or None where it raises `kind` and nothing else."""
    try:
        return parse(*arguments)
    except kind as error:
        assert type(error) is not UnicodeDecodeError and str(error)
        return None


def check_record(line: str) -> None:
    record = refuses(GameRecord.from_json, RecordError, line)
    if record is not None:  # what is let in can be written again
        assert GameRecord.from_json(record.to_json()) == record


def check_shard(content: bytes) -> None:
    path = written(content, "shard_00000.jsonl")
    digest = hashlib.sha256(content).hexdigest()
    written(digest.encode(), path.name + ".sha256")
    refuses(shards.read_shard, RecordError, path, GameRecord)
    written(digest[::-1].encode(), path.name + ".sha256")
    assert not shards.is_whole(path)


def check_small_json(content: bytes) -> None:
    found = atomic.read_json(written(content))
    assert found is None or isinstance(found, dict)


def check_move(drawn: tuple[str, bool]) -> None:
    text, must_guess = drawn
    move = parse_move(Prompts(), text, 4, must_guess)
    if move.fault is None:
        assert (move.question is None) != (move.guess is None)
        assert move.guess is None or move.guess in range(4)
        assert move.question is None or not must_guess


def check_said(text: str) -> None:
    """Parsers of what models say: none raises, whatever is said."""
    place = choice.parse_mark(text, ("A", "B", "C", "D"))
    assert place is None or place in range(4)
    text_records.read_written(Instructions(), 4, text)
    questions.read_caption(text)
    (found,) = similarity.boxed(similarity.Overlap(), [(text, text[::-1])])
    assert 0 <= found <= 1


def check_image(content: bytes) -> None:
    square = refuses(
        decode.decode_square,
        decode.UnreadableImageError,
        io.BytesIO(content),
        8,
    )
    assert square is None or square.shape == (8, 8, 3)


def check_model_config(text: str) -> None:
    path = written(text.encode("utf-8", "surrogatepass"), "config.json")
    found = refuses(read_config, ValueError, path)
    assert found is None or isinstance(found, VLMConfig)


def check_tensors(content: bytes) -> None:
    header = refuses(stored.read_header, ValueError, written(content))
    for entry in (header or {}).values():
        end = entry["offset"] + 4 * int(np.prod(entry["shape"]))
        assert entry["dtype"] != "F32" or end <= len(content)


def check_index(text: str) -> None:
    names = refuses(stored.read_index, ValueError, written(text.encode()))
    for name in names or ():
        assert (FOLDER / name).resolve().parent == FOLDER.resolve()


def check_flags(drawn: tuple[str, str]) -> None:
    """A field that is set to anything is refused, or is of its own type."""
    name, value = drawn
    config = FIELDS.copy_and_resolve_references()
    *folders, last = name.split(".")
    holder = config
    for folder in folders:
        holder = holder[folder]
    before = type(holder[last])
    try:
        holder[last] = value
    except TypeError:
        return
    assert type(holder[last]) is before
    refuses(choices.check, ValueError, config)


class Tags(html.parser.HTMLParser):
    """Collects tags and attributes."""

    def __init__(self):
        super().__init__()
        self.found: set[tuple[str, str]] = set()

    def handle_starttag(self, tag, attrs):
        self.found |= {(tag, name) for name, _ in attrs} | {(tag, "")}


def tags_of(text: str) -> set[tuple[str, str]]:
    """What a browser would see of a page that holds `text` everywhere."""
    arms = {"main": [metrics(0), metrics(1, vqa_kinds={text: 50.0})]}
    games = [game(text), game(text, "aborted", guess=None, reason=text)]
    tags = Tags()
    tags.feed(page(arms, games, title=text, config_text=text, skipped=[text]))
    return tags.found


@functools.cache
def sound_tags() -> set[tuple[str, str]]:
    return tags_of("words")


def check_report(text: str) -> None:
    assert tags_of(text) <= sound_tags()


FIELDS = runpy.run_path(str(ROOT / "configs" / "scenes.py"))["get_config"]()
INDEX = {"weight_map": {"a": "model-1.safetensors", "b": "../x.safetensors"}}
PLAIN = json.loads(GAME.to_json())
TARGETS = {
    "records": (changed_json(PLAIN) | JSON.map(json.dumps), check_record),
    "lines": (st.text(max_size=40), check_record),
    "dialog files": (
        st.binary(max_size=40) | changed_bytes(GAME.to_json().encode()),
        check_shard,
    ),
    "small JSON": (
        st.binary(max_size=40) | changed_bytes(b'{"a": [1, 2]}'),
        check_small_json,
    ),
    "moves": (st.tuples(SAID, st.booleans()), check_move),
    "other words": (SAID, check_said),
    "images": (
        st.binary(max_size=64)
        | st.one_of(
            *[
                changed_bytes(picture(kind))
                for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
            ]
        ),
        check_image,
    ),
    "model configs": (
        changed_json(tiny_config().to_dict()),
        check_model_config,
    ),
    "weights": (changed_bytes(tensors()), check_tensors),
    "indices": (changed_json(INDEX) | st.just(json.dumps(INDEX)), check_index),
    "config flags": (
        st.tuples(
            st.sampled_from(sorted(choices.CHOICES) + ["seed", "profile"]),
            st.text(max_size=8) | st.integers() | st.floats(),
        ),
        check_flags,
    ),
    "report": (
        st.text(max_size=30)
        | st.lists(
            st.sampled_from(
                "< > \" ' & </script> <script> <img onerror=x> --> ]]> {{ }}"
                " {% %} javascript: &lt; \0 \ud800 =".split(" ")
            ),
            max_size=6,
        ).map("".join),
        check_report,
    ),
}


def try_inputs(name: str, inputs: int, seed: int | None = None) -> int:
    """Tries about so many inputs of a target; how many it were.

    Raises:
      whatever a check raised, of the smallest input that was found.
    """
    strategy, check = TARGETS[name]
    tried = 0

    def one(drawn):
        nonlocal tried
        tried += 1
        check(drawn)

    test = hypothesis.settings(
        max_examples=inputs,
        deadline=None,
        database=None,
        derandomize=seed is None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )(hypothesis.given(strategy)(one))
    if seed is not None:
        test = hypothesis.seed(seed)(test)
    test()
    return tried


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=100_000, help="in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--targets", nargs="*", default=list(TARGETS))
    asked = parser.parse_args()
    logging.set_verbosity(logging.FATAL)  # of each file that is set aside
    warnings.simplefilter("ignore")  # Pillow's, of files it half reads
    total = 0
    for name in asked.targets:
        started = time.monotonic()
        tried = try_inputs(name, asked.inputs // len(asked.targets), asked.seed)
        total += tried
        seconds = time.monotonic() - started
        print(f"{name}: {tried} inputs, {seconds:.0f} s", flush=True)
    print(f"{total} inputs tried, none got through")


if __name__ == "__main__":
    main()
