"""The vision tower of a CLIP or SigLIP checkpoint, by itself."""

import dataclasses
import functools
import hashlib
import json
import pathlib

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from vlm_games.hub import leaves, parse, processors
from vlm_games.hub.pretrained import find_folder
from vlm_games.hub.stored import Stored, open_weights
from vlm_games.hub.weights import put
from vlm_games.models.config import VisionConfig
from vlm_games.models.vision import VisionTower, square_patches

MODEL_TYPES = (
    "clip",
    "clip_vision_model",
    "siglip",
    "siglip_vision_model",
)
PREFIX = "vision_model."
Channels = tuple[float, float, float]


@dataclasses.dataclass(frozen=True)
class Tower:
    """A vision tower.

    Attributes:
      config: architecture. params: on the devices.
      digest: of its weights and architecture.
    """

    config: VisionConfig
    params: object
    digest: str

    def embed(self, pixels_NxHxWxC: np.ndarray):
        """float32 [N, D], the mean over the patches of each square image.

        Args:
          pixels_NxHxWxC: uint8, of any size: they are resized to the tower's.
        """
        return _embed(self.config, self.params, pixels_NxHxWxC)


@functools.partial(jax.jit, static_argnums=0)
def _embed(config: VisionConfig, params, pixels):
    shape = (len(pixels), config.image_size, config.image_size, 3)
    if pixels.shape != shape:
        pixels = jax.image.resize(pixels.astype(jnp.float32), shape, "cubic")
        pixels = jnp.clip(jnp.round(pixels), 0, 255)
    patches = square_patches(config, 1, pixels)
    tower = VisionTower(config, jnp.float32)
    features, _ = tower.apply({"params": params}, patches)
    return features.astype(jnp.float32).mean(axis=1)


def load_tower(path_or_hub_id: str) -> Tower:
    """Loads a tower in float32.

    Only a hub id makes it use the network; no code of the checkpoint is run.

    Args:
      path_or_hub_id: a directory, or such as "google/siglip-base-patch16-224".

    Raises:
      ValueError: another kind of model, or weights that do not fit.
      FileNotFoundError: a file is missing.
    """
    folder = find_folder(path_or_hub_id)
    fields = processors.load_config(folder)
    kind = fields["model_type"]
    if kind not in MODEL_TYPES:
        raise ValueError(
            f"config.game.embedder={path_or_hub_id!r} is of model_type "
            f"{kind!r}; towers are read of {', '.join(MODEL_TYPES)}. Leave it "
            "empty for the VLM's own tower."
        )
    vision = fields.get("vision_config", fields)
    is_clip = kind.startswith("clip")
    # CLIP's last norm is of the class token alone, which is not used here.
    config = parse.clip(vision, vision["num_hidden_layers"], not is_clip)
    mean, std = _normalisation(folder)
    config = dataclasses.replace(config, mean=mean, std=std)
    stored = open_weights(folder, _NAMES)
    digest = hashlib.sha256(repr(config).encode())
    for name in sorted(set(stored.files.values())):
        with open(folder / name, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return Tower(config, _load(stored, config), digest.hexdigest())


@dataclasses.dataclass(frozen=True)
class _Bare:
    """Towers saved by themselves have lost what stands before the names."""

    parts: tuple[str, ...]

    def renamed(self, name: str) -> str:
        return PREFIX + name if name.startswith(self.parts) else name


_NAMES = _Bare(("embeddings.", "encoder.", "pre_layrnorm.", "post_layernorm."))


def _normalisation(folder: pathlib.Path) -> tuple[Channels, Channels]:
    """(mean, std) as the checkpoint's image processor has them."""
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} has no preprocessor_config.json, which says how pixels "
            "are normalised."
        )
    fields = json.loads(path.read_text(encoding="utf-8"))
    return tuple(fields["image_mean"]), tuple(fields["image_std"])


def _load(stored: Stored, config: VisionConfig):
    """Params of `VisionTower`, each checked for its shape."""
    pixels = jnp.zeros((1, config.image_size, config.image_size, 3), jnp.uint8)
    shapes = jax.eval_shape(
        VisionTower(config, jnp.float32).init,
        jax.random.key(0),
        square_patches(config, 1, pixels),
    )["params"]
    shapes = flax.traverse_util.flatten_dict(shapes, sep=".")
    table = leaves.clip_tower(config, PREFIX)
    flat = {}
    for path, shape in shapes.items():
        leaf = table[f"vision.{path}"]
        expected = leaf.file_shape(shape.shape)
        if leaf.name not in stored.names or stored.shape(leaf.name) != expected:
            found = "missing"
            if leaf.name in stored.names:
                found = f"of shape {stored.shape(leaf.name)}"
            raise ValueError(
                f"{stored.folder}: the tensor {leaf.name} {expected} is "
                f"{found}. Is it a whole CLIP or SigLIP checkpoint?"
            )
        tensor = leaf.to_ours(stored.read(leaf.name))
        flat[path] = put(tensor, jnp.float32, None)
    return flax.traverse_util.unflatten_dict(flat, sep=".")
