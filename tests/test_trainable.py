"""Which params are trained: all, all but some parts, or adapters alone."""

import jax
import numpy as np
import pytest

from vlm_games.models.mesh import make_mesh
from vlm_games.training.lora import LoraConfig
from vlm_games.training.trainable import Trainable

KEY = jax.random.key(0)
WITHOUT_EYES = Trainable(frozen=("vision", "connector"))


def moved(trained):
    return jax.tree.map(lambda x: x + 1.0, trained)


def parts_that_moved(before, after) -> set[str]:
    return {
        name
        for name in before
        if not all(
            jax.tree.leaves(
                jax.tree.map(np.array_equal, before[name], after[name])
            )
        )
    }


def test_all_is_trained_unless_something_else_is_said(params):
    trained, frozen = Trainable().begin(params, KEY)
    assert trained is params and frozen is None


def test_frozen_parts_stay_bit_for_bit(params):
    trained, frozen = WITHOUT_EYES.begin(params, KEY)
    assert set(frozen) == {"vision", "connector"}
    assert not set(frozen) & set(trained)
    after = WITHOUT_EYES.finish(make_mesh(), params, moved(trained))
    assert jax.tree.structure(after) == jax.tree.structure(params)
    assert parts_that_moved(params, after) == set(params) - set(frozen)


def test_the_model_computes_with_both(params):
    whole = WITHOUT_EYES.assemble(*reversed(WITHOUT_EYES.begin(params, KEY)))
    assert jax.tree.structure(whole) == jax.tree.structure(params)
    assert not parts_that_moved(params, whole)


def test_adapters_leave_out_the_frozen_parts(params):
    everywhere = LoraConfig(rank=2, parts=("decoder", "connector", "vision"))
    choice = Trainable(everywhere, ("vision", "connector"))
    trained, frozen = choice.begin(params, KEY)
    assert set(trained) == {"decoder"} and frozen is params
    after = choice.finish(make_mesh(), params, moved(trained))
    assert parts_that_moved(params, after) == {"decoder"}


def test_a_part_that_the_model_lacks_is_named(params):
    with pytest.raises(ValueError, match="frozen names ears; the parts"):
        Trainable(frozen=("ears",)).begin(params, KEY)
