"""Image sets in a file, and how a run draws, keeps and reads its sets."""

import json
import runpy
import types
from pathlib import Path

import ml_collections
import numpy as np
import pytest

from vlm_games import set_maker
from vlm_games.data.images import Groups
from vlm_games.games.image_sets import ImageSet
from vlm_games.games.set_file import (
    SetFileError,
    read_sets,
    take,
    write_sets,
)
from vlm_games.methods.dialog_games import DialogGames
from vlm_games.models.mesh import make_mesh
from vlm_games.sampling.engine import Engine
from vlm_games.set_maker import SetMaker

NAMES = ("a", "b", "c", "d", "e", "f")
SETS = [ImageSet((2, 0), 1), ImageSet((5, 4), 0)]
ROOT = Path(__file__).parents[1]


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "new" / "sets.jsonl"
    write_sets(path, SETS, NAMES, {"kind": "random"})
    assert read_sets(path, NAMES, 2) == SETS
    # By name: in another source the same images have other numbers.
    assert read_sets(path, NAMES[::-1], 2) == [
        ImageSet((3, 5), 1),
        ImageSet((0, 1), 0),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: expected"),
        ("[1]", "line 2: expected"),
        ('{"images": ["a", "b"]}', "line 2: expected"),
        ('{"images": ["a"], "target": 0}', "line 2: .*expected 2 names"),
        (
            '{"images": ["a", "x"], "target": 0}',
            "line 2: there is no image 'x'",
        ),
        ('{"images": ["a", 3], "target": 0}', "line 2: there is no image 3"),
        ('{"images": ["a", "a"], "target": 0}', "line 2: an image comes twice"),
        ('{"images": ["a", "b"], "target": 2}', "line 2: target is 2"),
        ('{"images": ["a", "b"], "target": true}', "line 2: target is True"),
    ],
)
def test_a_wrong_line_is_named_with_what_to_do(tmp_path, line, message):
    path = tmp_path / "sets.jsonl"
    path.write_text('{"image_sets": {"kind": "similar"}}\n' + line + "\n")
    with pytest.raises(SetFileError, match=f"{message}.*similar.*delete"):
        read_sets(path, NAMES, 2)


def test_another_file_is_no_file_of_sets(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"path": "a.jpg"}\n')
    with pytest.raises(SetFileError, match="line 1: this is no file of image"):
        read_sets(tmp_path / "x.jsonl", NAMES, 2)


def test_too_few_sets_say_how_many_are_wanted():
    assert take(SETS, 1, 1, "sets.jsonl") == SETS[1:]
    with pytest.raises(SetFileError, match="has 2 sets and .* number 3"):
        take(SETS, 1, 2, "sets.jsonl")


# A run's sets ----------------------------------------------------------------


class Greys:
    """Forty 8 x 8 images; neighbours in number are alike, the first too."""

    def __init__(self):
        count = 40
        self.names = tuple(f"{i // 8}/{i}" for i in range(count))
        folders = np.arange(count) // 8
        self.groups = Groups.unknown(count, clusters=folders, episodes=folders)
        ramp = np.linspace(0, 1, 8)[None, :, None] * np.ones((8, 1, 3))
        turn = np.linspace(0, np.pi, count)[:, None, None, None]
        mixed = np.cos(turn) * ramp + np.sin(turn) * ramp.transpose(1, 0, 2)
        self._images = (127 + 120 * mixed / 1.5).astype(np.uint8)

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        return self._images[index]

    def digest(self):
        return "greys"


def make(config, params, tmp_path=None, **changes) -> SetMaker:
    scenes = runpy.run_path(str(ROOT / "configs" / "scenes.py"))
    c = scenes["get_config"]()
    c.game.games, c.iterations, c.encode_images = 6, 2, 16
    c.update(ml_collections.ConfigDict(changes.pop("top", {})))
    c.game.update(ml_collections.ConfigDict(changes))
    engine = Engine(config, make_mesh(), 16)
    return SetMaker(c, Greys(), engine, params, "tiny")


def test_a_run_reads_the_sets_that_another_has_written(
    config, params, tmp_path
):
    path = str(tmp_path / "sets.jsonl")
    maker = make(config, params, sets="clusters", set_file=path)
    sets = [maker.draw(1, 0, 6), maker.draw(2, 0, 6)]
    assert sets[0] == make(config, params, sets="clusters").draw(1, 0, 6)
    assert sets[1] == make(config, params, sets="clusters").draw(2, 0, 6)
    made = json.loads(Path(path).read_text().split("\n")[0])
    assert made["image_sets"]["kind"] == "clusters"
    # The file decides from now on, whatever kind and seed the config says.
    again = make(config, params, set_file=path, top={"seed": 9})
    assert again.draw(2, 2, 3) == sets[1][2:5]
    with pytest.raises(SetFileError, match="12 sets .* number 18"):
        again.draw(3, 0, 6)


def test_similar_sets_are_alike_to_the_bases_own_tower(config, params):
    maker = make(config, params, sets="similar", images=3, near_duplicate=1.0)
    spread = [max(s.images) - min(s.images) for s in maker.draw(1, 0, 6)]
    others = make(config, params, images=3).draw(1, 0, 6)
    assert np.mean(spread) < np.mean(
        [max(s.images) - min(s.images) for s in others]
    )


def test_embeddings_are_kept_where_squares_are(
    config, params, tmp_path, monkeypatch
):
    changes = dict(sets="similar", near_duplicate=1.0)
    top = {"image_cache": str(tmp_path)}
    sets = make(config, params, top=top, **changes).draw(1, 0, 6)
    again = make(config, params, top=top, **changes)
    monkeypatch.setattr(
        set_maker, "embed_all", lambda *_: pytest.fail("embedded anew")
    )
    assert again.draw(1, 0, 6) == sets


def test_metadata_that_are_not_there_are_asked_for(config, params):
    with pytest.raises(ValueError, match="'task': none of 0 groups"):
        make(config, params, sets="task").draw(1, 0, 1)


# What is encoded of them -----------------------------------------------------


def prepare(config, params, games: int):
    """(images that were asked for, what the games of an iteration see)."""
    maker = make(config, params, games=games, images=2, judges=1)
    asked = []

    class Asked(Greys):
        def __getitem__(self, index):
            asked.append(index)
            return super().__getitem__(index)

    bench = types.SimpleNamespace(
        config=maker.config,
        images=Asked(),
        engine=maker.engine,
        model=config,
        draw_sets=maker.draw,
    )
    prepared = DialogGames(bench).prepare(params, 1)
    assert len(set(asked)) == len(asked)  # decoded once for all views
    return sorted(asked), prepared


def test_only_what_is_played_with_is_encoded_and_each_as_ever(config, params):
    some, few = prepare(config, params, 6)
    everything, all_ = prepare(config, params, 60)
    used = {i for one in few.sets for i in one.images}
    assert set(some) == set(few.numbers.tolist()) == used
    assert everything == list(range(40))
    tokens = config.tokens_per_image
    # Room for all images that six games of two may have, whatever they draw.
    assert few.guesser.shape[0] == 12 * tokens
    for found, whole in (
        (few.guesser, all_.guesser),
        (few.judges[0], all_.judges[0]),
    ):
        found = np.asarray(found).reshape(12, tokens, -1)[: len(few.numbers)]
        whole = np.asarray(whole).reshape(40, tokens, -1)[few.numbers]
        np.testing.assert_allclose(found, whole, atol=1e-5)
    assert few.describer is few.guesser
