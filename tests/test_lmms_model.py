"""The adapter for lmms-eval, with stand-ins for lmms-eval and the model.

That lmms-eval itself runs a task through it was tried by hand; see
docs/benchmarks.md.
"""

import importlib
import io
import sys
import types

import pytest
from PIL import Image

from vlm_games import respondent


class Base:
    """As much of lmms_eval.api.model.lmms as the adapter uses."""

    def __init__(self):
        self.task_dict = {}


class Respondent:
    """Answers with what it was asked; remembers the batches."""

    def __init__(self):
        self.batches = []

    def say(self, questions, folder, tokens, instruction):
        assert instruction == ""  # the task has its own
        self.batches.append((tokens, len(questions)))
        sizes = [
            Image.open(io.BytesIO(x)).size for q in questions for x in q.images
        ]
        assert sizes == [(4, 3)] * len(sizes)
        return [f"{q.text} {len(q.images)}\nmore" for q in questions]


@pytest.fixture
def adapter(monkeypatch):
    """The module, found beside stand-ins of lmms-eval's."""
    for name, fields in {
        "lmms_eval": {},
        "lmms_eval.api": {},
        "lmms_eval.api.model": {"lmms": Base},
        "lmms_eval.models": {},
        "lmms_eval.models.registry_v2": {"ModelManifest": dict},
    }.items():
        module = types.ModuleType(name)
        vars(module).update(fields)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "vlm_games.lmms_model", raising=False)
    found = importlib.import_module("vlm_games.lmms_model")
    yield found
    sys.modules.pop("vlm_games.lmms_model")


def request(doc: int, **settings):
    def to_messages(asked):
        image = {"type": "image", "url": Image.new("RGBA", (4, 3))}
        text = {"type": "text", "text": asked}
        return [{"role": "user", "content": [image] * doc + [text]}]

    args = ("context", to_messages, settings, doc, "task", "test")
    return types.SimpleNamespace(args=args)


def test_requests_are_answered_in_order_by_batches_of_one_length(
    adapter, monkeypatch
):
    asked = Respondent()
    monkeypatch.setattr(adapter, "load_respondent", lambda *args: asked)
    model = adapter.VlmGames(base="x", batch_size="2", device="cuda")
    model.task_dict = {"task": {"test": ["none", "one", "two", "three"]}}
    requests = [
        request(3, max_new_tokens=16, until=["\n"]),
        request(1),
        request(0, max_new_tokens=16, until="\n"),
        request(2, max_new_tokens=16, until=[""]),
    ]
    said = model.generate_until(requests)
    assert said == ["three 3", "one 1\nmore", "none 0", "two 2\nmore"]
    assert asked.batches == [(16, 2), (16, 1), (adapter.TOKENS, 1)]
    with pytest.raises(NotImplementedError, match="no likelihoods"):
        model.loglikelihood(requests)


def test_what_is_no_image_is_told(adapter):
    film = [{"role": "user", "content": [{"type": "video", "url": "x"}]}]
    with pytest.raises(ValueError, match="shows a video"):
        adapter.read_messages(film)


def test_the_manifest_names_a_class_that_is_there(adapter):
    path = adapter.manifest()["chat_class_path"]
    module, _, name = path.rpartition(".")
    assert module == adapter.__name__
    assert hasattr(adapter, name)
    assert adapter.load_respondent is respondent.load_respondent


def test_without_lmms_eval_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "lmms_eval", None)
    monkeypatch.delitem(sys.modules, "vlm_games.lmms_model", raising=False)
    with pytest.raises(ImportError, match=r"vlm_games\[lmms\]"):
        importlib.import_module("vlm_games.lmms_model")
