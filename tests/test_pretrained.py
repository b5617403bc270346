"""One call each way: messages in, text and logits out, and saving."""

import json
import pathlib
import runpy
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from reference import common

import vlm_games
from vlm_games.hub import pretrained

SHAPE = "llava"


def copy_checkpoint(folder) -> pathlib.Path:
    """A checkpoint as transformers saves it, weights included."""
    shutil.copytree(common.FOLDER / SHAPE, folder)
    common.write_weights(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return copy_checkpoint(tmp_path_factory.mktemp("hub") / SHAPE)


@pytest.fixture(scope="module")
def vlm(folder):
    return vlm_games.load_pretrained(folder, dtype="float32")


@pytest.fixture
def image_file(tmp_path):
    path = tmp_path / "picture.png"
    common.draw_image(90, 60, 1).save(path)
    return path


def assert_same_prompt(found, expected) -> None:
    assert np.array_equal(found.tokens, expected.tokens)
    for a, b in zip(found.pictures, expected.pictures, strict=True):
        same = jax.tree.map(np.array_equal, a.patches, b.patches)
        assert all(jax.tree.leaves(same))


# Messages ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", [str, pathlib.Path])
@pytest.mark.parametrize("key", ["image", "path"])
def test_an_image_is_a_pil_image_or_a_path(vlm, image_file, kind, key):
    text = {"type": "text", "text": "what color ?"}
    image = {"type": "image", key: kind(image_file)}
    found = vlm.reader.read([{"role": "user", "content": [image, text]}])
    expected = common.user(common.draw_image(90, 60, 1), "what color ?")
    assert_same_prompt(found, vlm.reader.read(expected))


def test_text_alone_may_be_a_string(vlm):
    found = vlm.reader.read([{"role": "user", "content": "how many ?"}])
    assert_same_prompt(found, vlm.reader.read(common.user("how many ?")))


@pytest.mark.parametrize(
    "item",
    [
        {"type": "image", "image": "https://example.com/a.png"},
        {"type": "image", "path": "https://example.com/a.png"},
        {"type": "image", "url": "https://example.com/a.png"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a"}},
        {"type": "image", "image": "data:image/png;base64,AAAA"},
        {"type": "image", "image": "no/such/file.png"},
        {"type": "video", "video": "film.mp4"},
    ],
    ids=lambda item: "-".join(item) + str(list(item.values())[-1])[:8],
)
def test_what_is_no_image_at_hand_is_refused(vlm, item, monkeypatch):
    """transformers would fetch an address."""

    def connect(*args, **kwargs):
        raise AssertionError("went to the network")

    monkeypatch.setattr("socket.socket.connect", connect)
    monkeypatch.setattr("socket.getaddrinfo", connect)
    with pytest.raises(ValueError, match="no image file|A message holds"):
        vlm.reader.read([{"role": "user", "content": [item]}])


@pytest.mark.slow
def test_a_list_of_conversations_gives_what_each_gives_alone(vlm):
    conversations = common.conversations()
    rows = vlm.logits(conversations)
    texts = vlm.generate(conversations, max_new_tokens=8)
    assert len(rows) == len(texts) == len(conversations)
    for i in (0, 2):  # with an image, and without
        alone = vlm.logits(conversations[i])
        assert alone.dtype == np.float32
        tokens = len(vlm.reader.read(conversations[i]).tokens)
        assert alone.shape == (tokens, vlm.config.vocab_size)
        np.testing.assert_allclose(rows[i], alone, atol=2e-5)
    text = vlm.generate(conversations[0], max_new_tokens=8)
    assert isinstance(text, str) and text == texts[0]


# Loading and saving -----------------------------------------------------------


def test_saving_over_the_source_is_refused(vlm, folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    for path in (folder, SHAPE, f"{SHAPE}/../{SHAPE}"):
        with pytest.raises(ValueError, match="was loaded from"):
            vlm.save_pretrained(path)


def test_code_in_the_directory_is_never_run(tmp_path):
    """Every file that may name code of its own does, and the code tells."""
    folder, trace = copy_checkpoint(tmp_path / "checkpoint"), tmp_path / "trace"
    code = f"import pathlib\npathlib.Path({str(trace)!r}).touch()\n"
    code += "class Custom: pass\n"
    for name in ("modeling", "configuration", "processing", "tokenization"):
        (folder / f"{name}_custom.py").write_text(code)
    classes = {
        "AutoConfig": "configuration_custom.Custom",
        "AutoModelForImageTextToText": "modeling_custom.Custom",
        "AutoProcessor": "processing_custom.Custom",
        "AutoImageProcessor": "processing_custom.Custom",
        "AutoTokenizer": ["tokenization_custom.Custom"] * 2,
    }
    changed = []
    for path in folder.glob("*config.json"):
        fields = json.loads(path.read_text())
        parts = [x for x in fields.values() if isinstance(x, dict)]
        for part in (fields, *parts):
            part |= {"auto_map": classes, "trust_remote_code": True}
        path.write_text(json.dumps(fields))
        changed.append(path.name)
    assert {"config.json", "tokenizer_config.json"} <= set(changed)

    modules = set(sys.modules)
    pretrained.load_pretrained(folder, "float32")
    assert not trace.exists()
    assert not [m for m in set(sys.modules) - modules if "custom" in m]
    runpy.run_path(str(folder / "modeling_custom.py"))
    assert trace.exists()  # had it been run, it would have shown


def test_a_directory_without_a_config_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no config\.json"):
        vlm_games.load_pretrained(tmp_path)


def test_importing_the_package_loads_no_library():
    """The call is found when asked for; the rest of the import is free."""
    program = (
        "import sys, vlm_games\n"
        "heavy = {'jax', 'numpy', 'transformers', 'torch'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert callable(vlm_games.load_pretrained)\n"
        "assert not hasattr(vlm_games, 'load')\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_model_of_our_own_is_told_where_it_goes(base_dir):
    with pytest.raises(ValueError, match="own: runs and evaluate take it as"):
        vlm_games.load_pretrained(base_dir)
