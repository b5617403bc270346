"""Host memory that loading a checkpoint takes beside its params.

    python benchmarks/loading.py --json=/tmp/loading.json

Random checkpoints of LLaVA's shape, --gib at least, in shards with an index,
are written to a temporary directory. Each case loads one in a process of its
own. While it loads, the memory that is the process's own (RssAnon and RssShmem
in /proc/<pid>/status; pages of the mapped files are not, they can be dropped at
any time) is read every millisecond. Less what was there before, and less the
params loaded by then, this is the extra memory; it is set against the largest
tensor, in the file or as a param.
"""

import bisect
import json
import math
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import safetensors.numpy
from absl import flags

from vlm_games import command_line
from vlm_games.hub import processors, weights
from vlm_games.hub.family import find_family
from vlm_games.hub.stored import INDEX, open_weights

_GIB = flags.DEFINE_float("gib", 2.0, "Size of a checkpoint, at least.", 0.01)
_JSON = flags.DEFINE_string("json", None, "File for the figures.")
_DRY_RUN = command_line.define_dry_run()
_LOAD = flags.DEFINE_string("load", None, "Of the child: what it loads.")
_DTYPE = flags.DEFINE_string("dtype", "bfloat16", "Of the child: of params.")
_DEVICES = flags.DEFINE_integer("devices", 1, "Of the child: on the CPU.", 1)

SHARD = 256 << 20
VISION = {  # CLIP-L/14
    "model_type": "clip_vision_model",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
}
TEXT = {  # narrower than Vicuna
    "model_type": "llama",
    "hidden_size": 2048,
    "intermediate_size": 5504,
    "num_attention_heads": 16,
    "vocab_size": 32064,
}
# In the file, of the params, devices.
CASES = (
    ("bfloat16", "bfloat16", 1),
    ("bfloat16", "float32", 1),
    ("bfloat16", "bfloat16", 4),
    ("float32", "bfloat16", 1),
    ("float32", "float32", 1),
)


# What is loaded ---------------------------------------------------------------


def write_config(folder: pathlib.Path, itemsize: int) -> dict[str, tuple]:
    """Writes config.json of at least --gib; the tensors' shapes by name."""

    def shapes_of(depth: int) -> dict[str, tuple]:
        fields = {
            "model_type": "llava",
            "vision_config": VISION,
            "text_config": {**TEXT, "num_hidden_layers": depth},
            "image_token_index": 32000,
        }
        (folder / "config.json").write_text(json.dumps(fields))
        family, config = read_config(folder)
        shapes = weights.abstract_params(config)
        return {
            leaf.name: leaf.file_shape(shapes[path].shape)
            for path, leaf in family.leaves(config).items()
        }

    one, two = (
        itemsize * sum(math.prod(x) for x in shapes_of(depth).values())
        for depth in (1, 2)
    )
    missing = max(_GIB.value * 2**30 - one, 0)
    return shapes_of(1 + math.ceil(missing / (two - one)))


def write_checkpoint(folder: pathlib.Path, dtype) -> int:
    """Writes random weights, a shard at a time; the size of all, bytes."""
    rng, shard, placed, total = np.random.default_rng(0), {}, {}, 0

    def flush():
        name = f"model-{len(set(placed.values())) + 1:05d}.safetensors"
        safetensors.numpy.save_file(shard, folder / name, {"format": "pt"})
        placed.update(dict.fromkeys(shard, name))
        shard.clear()

    for name, shape in write_config(folder, np.dtype(dtype).itemsize).items():
        shard[name] = rng.random(shape, np.float32).astype(dtype)
        total += shard[name].nbytes
        if sum(x.nbytes for x in shard.values()) > SHARD:
            flush()
    flush()
    (folder / INDEX).write_text(json.dumps({"weight_map": placed}))
    return total


def read_config(folder: pathlib.Path):
    """(family, config) of a directory."""
    fields = processors.load_config(folder)
    family = find_family(fields)
    return family, family.config(fields)


# The child --------------------------------------------------------------------


def load(folder: pathlib.Path, dtype: str, devices: int) -> dict[str, Any]:
    """Loads, and tells when which params were there."""
    jax.config.update("jax_num_cpu_devices", devices)
    mesh = jax.make_mesh((1, devices), ("data", "model"))
    family, config = read_config(folder)
    shapes = weights.abstract_params(config)
    stored = open_weights(folder, family)
    largest = max(
        max(
            shape.size * np.dtype(dtype).itemsize, stored.read(leaf.name).nbytes
        )
        for path, leaf in family.leaves(config).items()
        for shape in [shapes[path]]
    )
    times, params = [time.monotonic()], [0]

    def sharding(path, shape):
        """Notes that all before are there; splits the longest axis."""
        shape = shapes[path].shape
        times.append(time.monotonic())
        params.append(params[-1] + shapes[path].size * np.dtype(dtype).itemsize)
        if devices == 1:
            return None
        axes = [None] * len(shape)
        axis = int(np.argmax(shape))
        axes[axis] = None if shape[axis] % devices else "model"
        spec = jax.sharding.PartitionSpec(*axes)
        return jax.sharding.NamedSharding(mesh, spec)

    before = own_memory("self")
    weights.load(stored, family, config, np.dtype(dtype), sharding)
    return {
        "before": before,
        "times": times,
        "params": params,
        "largest": largest,
        "seconds": time.monotonic() - times[0],
    }


def own_memory(pid) -> int:
    """RssAnon and RssShmem of a process, bytes; 0 if it has ended."""
    try:
        text = pathlib.Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    lines = [line.split() for line in text.splitlines()]
    own = [int(x[1]) for x in lines if x[0] in ("RssAnon:", "RssShmem:")]
    return sum(own) << 10


# The parent -------------------------------------------------------------------


def measure(folder: pathlib.Path, dtype: str, devices: int) -> dict[str, Any]:
    """Loads in a child and watches its memory."""
    command = [sys.executable, __file__, f"--load={folder}"]
    command += [f"--dtype={dtype}", f"--devices={devices}"]
    samples = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        while child.poll() is None:
            samples.append((time.monotonic(), own_memory(child.pid)))
            time.sleep(0.001)
        found = json.loads(child.stdout.read().splitlines()[-1])
    extra = peak_extra(samples, found)
    return {
        "peak_extra_mib": round(extra / 2**20, 1),
        "largest_tensor_mib": round(found["largest"] / 2**20, 1),
        "ratio": round(extra / found["largest"], 2),
        "params_mib": round(found["params"][-1] / 2**20, 1),
        "seconds": round(found["seconds"], 1),
    }


def peak_extra(samples, found: Mapping[str, Any]) -> int:
    """The most memory beside the params, the one on its way included."""
    end = found["times"][0] + found["seconds"]
    return max(
        own - found["before"] - found["params"][here - 1]
        for at, own in samples
        if (here := bisect.bisect_right(found["times"], at)) and at <= end
    )


def tell() -> str:
    """What would be done."""
    lines = []
    for stored, wanted, devices in CASES:
        sizes = np.dtype(wanted).itemsize / np.dtype(stored).itemsize
        lines.append(
            f"a file of {stored} as {wanted} on {devices} devices: about "
            f"{_GIB.value * sizes:.2f} GiB of params"
        )
    return "\n".join(
        [
            f"In {tempfile.gettempdir()}, one checkpoint at a time of "
            f"{_GIB.value:g} GiB or more is written, then loaded:",
            *lines,
            "Each in a process of its own, with up to twice its largest "
            "tensor beside the params.",
        ]
    )


def main() -> None:
    if _DRY_RUN.value:
        print(tell())
        return
    if _LOAD.value:
        folder = pathlib.Path(_LOAD.value)
        print(json.dumps(load(folder, _DTYPE.value, _DEVICES.value)))
        return
    figures = []
    for dtype in ("bfloat16", "float32"):
        with tempfile.TemporaryDirectory() as folder:
            size = write_checkpoint(pathlib.Path(folder), np.dtype(dtype))
            for stored, wanted, devices in CASES:
                if stored != dtype:
                    continue
                case = {
                    "file": stored,
                    "params": wanted,
                    "devices": devices,
                    "file_gib": round(size / 2**30, 2),
                }
                case |= measure(pathlib.Path(folder), wanted, devices)
                figures.append(case)
                print(case, flush=True)
    if _JSON.value:
        result = {"command": " ".join(["python", *sys.argv]), "cases": figures}
        text = json.dumps(result, indent=2) + "\n"
        pathlib.Path(_JSON.value).write_text(text)
    if max(case["ratio"] for case in figures) > 2:
        raise SystemExit("More than twice the largest tensor.")


if __name__ == "__main__":
    command_line.run(main)
