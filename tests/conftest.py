"""Eight virtual CPU devices, and a tiny model that every test may share."""

import dataclasses
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

# Before anything asks for a device: the number is fixed from then on.
jax.config.update("jax_num_cpu_devices", 8)

from vlm_games.data.tokenizer import (  # noqa: E402
    load_tokenizer,
    word_tokenizer,
)
from vlm_games.models import vlm  # noqa: E402
from vlm_games.models.checkpoint import load_model  # noqa: E402
from vlm_games.models.config import (  # noqa: E402
    ConnectorConfig,
    TransformerConfig,
    VisionConfig,
    VLMConfig,
)
from vlm_games.models.shipped import SHIPPED  # noqa: E402

WORDS = "is there a red circle what color none yes no question answer : ?"


def tiny_config(dtype: str = "float32", **decoder) -> VLMConfig:
    """A VLM of width 32: 8 x 8 images, 4 tokens each, 20 words or so."""
    encoder = TransformerConfig(
        width=16,
        depth=1,
        heads=2,
        kv_heads=2,
        head_dim=8,
        mlp_width=32,
        gated=False,
        activation="relu",
        rope=None,
    )
    fields = {
        "width": 32,
        "depth": 2,
        "heads": 4,
        "kv_heads": 4,
        "head_dim": 8,
        "mlp_width": 48,
    }
    return VLMConfig(
        vocab_size=24,
        vision=VisionConfig(image_size=8, patch_size=2, encoder=encoder),
        connector=ConnectorConfig(fold=2, hidden=32),
        decoder=TransformerConfig(**{**fields, **decoder}),
        image_token_id=4,
        dtype=dtype,
    )


def lively_params(config: VLMConfig, seed: int = 0):
    """Random params in which biases and scales are random too.

    Fresh params have zero biases and unit scales, which would hide an
    error in either.
    """
    rng = np.random.default_rng(seed)

    def draw(path, x):
        name = path[-1].key
        if name in ("bias", "scale", "position"):
            return (name == "scale") + 0.1 * rng.standard_normal(x.shape)
        fan_in = config.decoder.width if name == "embedding" else x.shape[0]
        return rng.standard_normal(x.shape) * fan_in**-0.5

    shapes = jax.eval_shape(lambda: vlm.init_params(config, jax.random.key(0)))
    drawn = jax.tree_util.tree_map_with_path(draw, shapes)
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), drawn)


def pytest_collection_modifyitems(items):
    """Files with slow tests first: what is started last is waited for."""
    slow = {x.path for x in items if x.get_closest_marker("slow")}
    items.sort(key=lambda x: x.path not in slow)


@pytest.fixture(scope="module")
def quick_compiles():
    """Compiles without most optimizations: compiling is most of the time."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> pathlib.Path:
    """Folder of what whole programs compiled: much of it serves several, in
    all of pytest's processes."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # each has a folder in the whole's
        base = base.parent
    folder = base / "compiled"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def config() -> VLMConfig:
    return tiny_config()


@pytest.fixture(scope="session")
def params(config):
    return lively_params(config)


@pytest.fixture(scope="session")
def variant():
    """Makes (config, params) of the tiny model with other decoder fields."""

    def make(dtype="float32", tie_embeddings=True, **decoder):
        config = dataclasses.replace(
            tiny_config(dtype, **decoder), tie_embeddings=tie_embeddings
        )
        return config, lively_params(config)

    return make


@pytest.fixture(scope="session")
def tokenizer():
    return word_tokenizer(WORDS.split())


@pytest.fixture(scope="session")
def pixels():
    """uint8 [6, 8, 8, 3], six images."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def base_dir():
    """The shipped base, a model directory."""
    return SHIPPED


@pytest.fixture(scope="session")
def base(base_dir):
    """(config, params, tokenizer) of the shipped base."""
    return *load_model(base_dir), load_tokenizer(str(base_dir))
