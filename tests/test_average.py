"""What a round learned is drawn back to the base by a share."""

import types

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from vlm_games import choices, command_line, self_improve
from vlm_games.data.workdir import Workdir
from vlm_games.preemption import Notice
from vlm_games.training.average import toward_base


def params(seed: int, dtype=jnp.float32):
    key = jax.random.key(seed)
    return {"a": {"w": jax.random.normal(key, (3, 5), dtype)}}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_every_weight_goes_its_share_of_the_way(dtype):
    trained, base = params(0, dtype), params(1, dtype)
    found = toward_base(trained, base, 0.25)["a"]["w"]
    x, y = (np.asarray(p["a"]["w"], np.float64) for p in (trained, base))
    assert found.dtype == dtype
    atol = 1e-6 if dtype == jnp.float32 else 0.02
    np.testing.assert_allclose(
        np.asarray(found, np.float64), 0.75 * x + 0.25 * y, atol=atol
    )


@pytest.mark.parametrize("share", [0.1, 0.25, 1 / 3, 0.9])
def test_what_was_not_trained_stays_bit_for_bit(share):
    same = params(0)
    found = toward_base(same, params(0), share)
    jax.tree.map(np.testing.assert_array_equal, found, same)


@pytest.fixture
def learned(monkeypatch, tmp_path):
    """(share, what fine-tuning does) -> what `learn` returns and saves."""
    base, start, saved = {"w": jnp.zeros(2)}, {"w": jnp.ones(2)}, []

    def learn(share, train):
        monkeypatch.setattr(
            self_improve,
            "fine_tune",
            lambda run, trainer, course, params, stages: train(params),
        )
        monkeypatch.setattr(self_improve, "tidy", lambda *arguments: None)
        run = types.SimpleNamespace(
            config=ml_collections.ConfigDict(
                {"train": {"start": "last", "base_share": share}}
            ),
            workdir=Workdir(tmp_path),
            notice=Notice(),
            save_params=lambda path, params: saved.append(params),
        )
        shared = types.SimpleNamespace(base=base, trainer=None)
        chosen = types.SimpleNamespace(stages=())
        found = self_improve.learn(run, shared, "main", 1, start, chosen)
        assert saved.pop() is found
        return found["w"].tolist()

    return learn


@pytest.mark.parametrize(("share", "kept"), [(0.0, 3.0), (0.25, 2.25)])
def test_a_round_ends_with_a_share_of_the_base(learned, share, kept):
    assert learned(share, lambda start: {"w": start["w"] + 2}) == [kept] * 2


def test_who_learned_nothing_is_what_it_was(learned):
    assert learned(0.25, lambda start: start) == [1.0, 1.0]


def test_adapters_that_are_kept_are_not_drawn_back():
    config = command_line.load_config("scenes")
    config.train.lora.rank = 4
    with pytest.raises(ValueError, match=r"base_share=0\.25 .* set one of"):
        choices.check(config)
    config.train.base_share = 0.0
    choices.check(config)


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_is_from_none_to_all(share):
    config = command_line.load_config("scenes")
    config.train.base_share = share
    with pytest.raises(ValueError, match=r"config\.train\.base_share"):
        choices.check(config)
