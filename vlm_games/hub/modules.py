"""Linear maps of a checkpoint as PyTorch has them, and their names.

Where one tensor holds query, key and value, their adapters are one of the
summed rank, which says the same:

    A = [A_q, A_k, A_v]      B = [B_q  0    0 ]
                                 [0    B_k  0 ]
                                 [0    0    B_v]
"""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from vlm_games.hub.family import Family
from vlm_games.hub.leaves import Leaf
from vlm_games.hub.weights import abstract_params
from vlm_games.models.config import VLMConfig
from vlm_games.models.low_rank import A, B
from vlm_games.training.lora import PARTS, part_of, sizes

# Names that hub files and the versions of transformers put modules into, and
# that tell none from another.
WRAPPERS = ("model", "language_model", "text_model", "vision_model")


@dataclasses.dataclass(frozen=True)
class Module:
    """A `torch.nn.Linear` of the checkpoint, and the maps of ours in it.

    Attributes:
      name: as `Family.rename` gives it.
      paths: of our maps: one, or those of a fused tensor in its order.
      inputs, outputs: sizes of one of our maps.
    """

    name: str
    paths: tuple[str, ...]
    inputs: int
    outputs: int


def find(family: Family, model: VLMConfig) -> dict[str, Module]:
    """The checkpoint's linear maps that may have adapters, by `short` name."""
    shapes = abstract_params(model)
    together: dict[str, list[tuple[int, str]]] = {}
    for kernel, leaf in family.leaves(model).items():
        path = kernel.removesuffix(".kernel")
        if path != kernel and part_of(path) in PARTS and is_linear(leaf):
            name = leaf.name.removesuffix(".weight")
            together.setdefault(name, []).append((leaf.part[0], path))
    modules = {}
    for name, places in together.items():
        paths = tuple(path for _, path in sorted(places))
        shape = shapes[paths[0] + ".kernel"].shape
        modules[short(name)] = Module(name, paths, *sizes(paths[0], shape))
    return modules


def is_linear(leaf: Leaf) -> bool:
    """Whether the file keeps [out, in] and both flatten as our kernel does.

    So it is for "o i -> i o", "(h k) d -> d h k" and "d (h k) -> h k d".
    """
    if not leaf.name.endswith(".weight") or not leaf.pattern:
        return False
    theirs, ours = leaf.pattern.split(" -> ")
    groups = re.findall(r"\([^)]*\)|\S+", theirs)
    turned = " ".join(group.strip("()") for group in reversed(groups))
    return len(groups) == 2 and turned == ours


def fuse(module: Module, flat: Mapping[str, np.ndarray]):
    """A [in, R] and B [R, n * out] of a module from those of its n maps.

    Args:
      flat: adapters by path; a map without one gets zeros.
    """
    count, out = len(module.paths), module.outputs
    rank = max(
        flat[f"{path}.{A}"].shape[1]
        for path in module.paths
        if f"{path}.{A}" in flat
    )
    blank = np.zeros((module.inputs, rank), np.float32)
    empty = np.zeros((rank, out), np.float32)
    a = [flat.get(f"{path}.{A}", blank) for path in module.paths]
    b = [
        np.pad(
            flat.get(f"{path}.{B}", empty),
            ((0, 0), (i * out, (count - 1 - i) * out)),
        )
        for i, path in enumerate(module.paths)
    ]
    return np.concatenate(a, axis=1), np.concatenate(b)


def split(
    module: Module, a: np.ndarray, b: np.ndarray
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Inverse of `fuse`: (path, A, B) of each map of a module.

    Where B is no block diagonal, every map has all of A. Maps of which A is
    zero have no adapter.
    """
    count, own = len(module.paths), len(b) // len(module.paths)
    diagonal = own * count == len(b)
    if diagonal:
        blocks = b.reshape(count, own, count, module.outputs)
        diagonal = not any(
            blocks[i, :, j].any()
            for i in range(count)
            for j in range(count)
            if i != j
        )
    for i, path in enumerate(module.paths):
        rows = slice(i * own, (i + 1) * own) if diagonal else slice(None)
        columns = slice(i * module.outputs, (i + 1) * module.outputs)
        if count == 1 or a[:, rows].any():
            yield path, a[:, rows], b[rows, columns]


def in_memory(name: str) -> str:
    """What transformers 5 calls a module, given its name in our table."""
    name = re.sub(r"^language_model\.model\.", "language_model.", name)
    return name if name.startswith("model.") else f"model.{name}"


def short(name: str) -> str:
    """A module's name without what differs between versions."""
    return ".".join(x for x in name.split(".") if x not in WRAPPERS)


def pattern(names: Iterable[str]) -> str:
    """Regular expression of modules by their short names, in any version.

    Such as W(layers\\.(0|1)\\.(mlp\\.up_proj|self_attn\\.q_proj)), where W
    stands for any number of WRAPPERS.
    """
    wrapped = rf"(?:(?:{'|'.join(WRAPPERS)})\.)*"
    numbers: dict[tuple[str, str], list[str]] = {}
    for name in names:
        found = re.fullmatch(r"(.+?)\.(\d+)\.(.+)", name)
        head, number, tail = found.groups() if found else (name, "", "")
        numbers.setdefault((head, tail), []).append(number)
    tails: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (head, tail), several in numbers.items():
        tails.setdefault((head, tuple(several)), []).append(tail)
    options = []
    for (head, places), ends in tails.items():
        text = re.escape(head).replace(r"\.", rf"\.{wrapped}", 1)
        if ends != [""]:
            last = "|".join(re.escape(end) for end in ends)
            text += rf"\.({'|'.join(places)})\.({last})"
        options.append(text)
    return f"{wrapped}({'|'.join(options)})"
