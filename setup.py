"""Packaging of vlm_games; everything else a tool needs is in pyproject.toml."""

import pathlib
import re

import setuptools

ROOT = pathlib.Path(__file__).parent

# flax 0.12.8 subclasses a class that jax dropped after 0.11.0, so an open
# upper bound breaks every installation on Python 3.12 and later.
JAX_RANGE = ">=0.10,<0.11.1"


def read_version() -> str:
    """The version as text: importing the package here would need jax."""
    text = (ROOT / "vlm_games" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if found is None:
        raise RuntimeError(
            "vlm_games/__init__.py holds no line of the form "
            '__version__ = "1.2.3"; setup.py reads the version from it.'
        )
    return found.group(1)


setuptools.setup(
    name="vlm_games",
    version=read_version(),
    description=(
        "Vision-language models that improve themselves on unlabelled images "
        "by playing dialog games, in JAX"
    ),
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    # Only the package: configs/ is read by path (--config=configs/scenes.py).
    packages=setuptools.find_packages(include=["vlm_games", "vlm_games.*"]),
    package_data={
        "vlm_games": ["py.typed", "assets/**/*"],
        "vlm_games.report": ["*.jinja", "*.css"],
    },
    install_requires=[
        "absl-py>=2.1",
        "einops>=0.8",
        "etils[epath]>=1.9.1",
        "flax>=0.12.8",
        f"jax{JAX_RANGE}",
        "jinja2>=3.1",
        "ml_collections>=1.0",
        "numpy>=2.0",
        "optax>=0.2.6",
        "orbax-checkpoint>=0.12",
        "pillow>=11.0",
        "safetensors>=0.5",
        "scipy>=1.14",
        "tensorboardX>=2.6.2",
        "tensorflow-datasets>=4.9.9",
        "tqdm>=4.66",
        "transformers>=5.0,<6",
    ],
    extras_require={
        "tpu": [f"jax[tpu]{JAX_RANGE}"],
        "cuda": [f"jax[cuda12]{JAX_RANGE}"],
        # ruff's formatting may change with its minor version, hence the bound.
        "test": ["pytest>=8.3", "pytest-xdist>=3.8", "ruff>=0.17,<0.18"],
        # config.images = "hf:..."; from 4.0 on it runs no code of a dataset.
        "hf": ["datasets>=4.0"],
        # config.game.search = "faiss".
        "faiss": ["faiss-cpu>=1.9"],
        # config.triangle.similarity = "sentences"; brings PyTorch with it.
        "sentences": ["sentence-transformers>=5.0"],
        # What tests/reference/ makes the reference files with, and what tests
        # compare with live; no torchvision: images are read without it.
        "reference": ["torch==2.13.0", "peft>=0.21", "trl>=1.16"],
    },
)
