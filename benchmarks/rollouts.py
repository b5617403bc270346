"""Games per second: ours beside transformers and vLLM, on the same work.

    python benchmarks/rollouts.py --size=small --rounds=5 --json=FILE

One checkpoint of random weights, the same pictures, the same prompts, as many
tokens said; engines/work.py has the rules. Each engine is a process of its own
that plays when it is its turn; in every round all play the same new games, one
engine after another. vLLM needs an environment of its own: --vllm_python, or
VLLM_PYTHON, names its Python; docs/performance.md says how to make one.
"""

import collections
import dataclasses
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile

import numpy as np
from absl import flags
from engines import work as works

from vlm_games import command_line
from vlm_games.base_model import find_model, load_base
from vlm_games.data.images import RenderedSource
from vlm_games.games.layout import handover, opening
from vlm_games.games.prompts import SLOT
from vlm_games.games.protocol import GameSettings
from vlm_games.hub import weights
from vlm_games.hub.family import find_family
from vlm_games.models.config import VLMConfig
from vlm_games.models.mesh import make_mesh
from vlm_games.planning import memory

_SIZE = flags.DEFINE_enum("size", "small", ["small", "mid", "7b"], "Of model.")
_GAMES = flags.DEFINE_integer("games", 16, "Games at once.", 1)
_IMAGES = flags.DEFINE_integer("images", 4, "Images in a game.", 1)
_TURNS = flags.DEFINE_integer("turns", 4, "Turns of a game.", 1)
_TOKENS = flags.DEFINE_integer("tokens", 24, "Said by a role in a turn.", 1)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "After the warm-up.", 1)
_LONG = flags.DEFINE_integer(
    "long", 8, "Turns of ours, to see it slow down.", 2
)
_ENGINES = flags.DEFINE_list(
    "engines",
    ["ours", "transformers_one", "transformers_batched", "vllm"],
    "Which of them play.",
)
_MODEL = flags.DEFINE_string("model", None, "What make_llava.py wrote.")
_VLLM = flags.DEFINE_string(
    "vllm_python", os.environ.get("VLLM_PYTHON"), "Python that has vLLM."
)
_JSON = flags.DEFINE_string("json", None, "File for the figures.")
_DRY_RUN = command_line.define_dry_run()

ENGINES = pathlib.Path(__file__).parent / "engines"
OURS = "ours"
# Engines round differently, which may flip a token where two are all but
# equally likely, and then the rest of its game.
LEAST_SAME = 0.8
AROUND = 16  # tokens around a question and its answer, rather too many


class Engine:
    """A worker process; see `engines/worker.py`.

    It is stopped while it is not its turn: threads that spin for work would
    else take cores from the engine that plays.
    """

    def __init__(self, name: str, model: pathlib.Path, folder: pathlib.Path):
        module, _, how = name.partition("_")
        python = _VLLM.value if module == "vllm" else sys.executable
        self.name = name
        self._process = subprocess.Popen(
            [
                *(python, ENGINES / "worker.py"),
                *(f"{module}_engine:{how}", model, folder),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=open(folder / f"{name}.log", "wb"),
            env={**os.environ, **environment()},
            text=True,
            start_new_session=True,  # signals reach its children too
        )
        self._log = folder / f"{name}.log"
        self._read()  # until it is ready
        self._signal(signal.SIGSTOP)

    def play(self, number: int, turns: int) -> dict:
        """What the worker answers of round `number`."""
        self._signal(signal.SIGCONT)
        command = {"round": number, "turns": turns}
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        found = self._read()
        self._signal(signal.SIGSTOP)
        return found

    def close(self) -> None:
        """Ends the process."""
        self._signal(signal.SIGCONT)
        self._process.stdin.close()
        self._process.wait()

    def _signal(self, which: signal.Signals) -> None:
        os.killpg(self._process.pid, which)

    def _read(self) -> dict:
        line = self._process.stdout.readline()
        if not line:
            end = self._log.read_text(errors="replace")[-3000:]
            raise RuntimeError(f"{self.name} ended:\n{end}")
        return json.loads(line)


def environment() -> dict[str, str]:
    """Variables of an engine's process: no hub, all cores, as advised."""
    cores = sorted(os.sched_getaffinity(0))
    scheduler = "--xla_cpu_enable_concurrency_optimized_scheduler=false"
    return {
        "HF_HUB_OFFLINE": "1",
        # A device per core: games are split over them.
        "JAX_NUM_CPU_DEVICES": str(len(cores)),
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {scheduler}",
        "VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, cores)),
        "VLLM_CPU_KVCACHE_SPACE": "2",
        "VLLM_NO_USAGE_STATS": "1",
    }


PROMPTS = {
    "describer": "<s>USER: {image}\nQuestion:{question}\nASSISTANT:",
    "opening": "<s>USER: ",
    "candidate": "Image {number}: {image}\n",
    "cue": "Find my image: ask about it.\nASSISTANT:",
    "last_cue": "Find my image: ask about it.\nASSISTANT:",
    "answer": "\nUSER: The answer is{answer}\n",
    "ask": "",  # all that is said is a question
    "guess": "<s>",
    "gap": "",
}


def define_work(model: pathlib.Path, folder: pathlib.Path) -> works.Work:
    """Writes what is played, and the pictures of each round, to `folder`."""
    base = load_base(str(model), "float32", 0, PROMPTS, make_mesh())
    config, encode = base.model, base.tokenizer.encode
    settings = GameSettings(turns=_TURNS.value, cut=True)
    asked = handover(base.tokenizer, base.prompts, cut=True)
    before, after = base.prompts.hear(SLOT, False).split(SLOT)
    rng = np.random.default_rng(0)
    work = works.Work(
        games=_GAMES.value,
        images=_IMAGES.value,
        turns=_TURNS.value,
        tokens=_TOKENS.value,
        image_id=config.image_token_id,
        image_tokens=config.tokens_per_image,
        opening=encode(opening(base.prompts, settings, _IMAGES.value)),
        trunk=encode(base.prompts.describer_trunk()),
        asked=(asked.before, asked.after),
        heard=(encode(before), encode(after)),
        targets=tuple(rng.integers(_IMAGES.value, size=_GAMES.value).tolist()),
        longest=0,
        prompts=PROMPTS,
    )
    turns = max(_TURNS.value, _LONG.value)
    one = dataclasses.replace(work, games=1)
    longest = one.prompt_tokens(turns) - one.prompt_tokens(turns - 1)
    work = dataclasses.replace(work, longest=longest + work.tokens)
    work.save(folder)
    count, size = _GAMES.value * _IMAGES.value, config.vision.image_size
    rounds = _ROUNDS.value + 1
    source = RenderedSource("target/play", rounds * count, size)
    for number in range(rounds):
        part = range(number * count, (number + 1) * count)
        shown = np.stack([source[i] for i in part])
        np.save(folder / works.PICTURES.format(number), shown)
    return work


def same(a: list, b: list) -> float:
    """Share of games with the same tokens."""
    return statistics.mean(x == y for x, y in zip(a, b, strict=True))


def spread(ends: list[float]) -> list[float]:
    """Seconds of each turn."""
    return [b - a for a, b in zip([0.0, *ends], ends, strict=False)]


def measure(names: list[str], work: works.Work, model, folder) -> dict:
    """All figures, of all engines."""
    engines = [Engine(name, model, folder) for name in names]
    first, rounds = {}, collections.defaultdict(list)
    long = []
    for engine in engines:
        first[engine.name] = engine.play(0, _TURNS.value)
        print(f"{engine.name}: warm", file=sys.stderr, flush=True)
    ours = next((e for e in engines if e.name == OURS), None)
    if ours is not None:
        ours.play(0, _LONG.value)
        first[OURS]["compiles"] = ours.play(0, _TURNS.value)["compiles"]
    for number in range(1, _ROUNDS.value + 1):
        # Another begins in each round.
        turn = number % len(engines)
        for engine in engines[turn:] + engines[:turn]:
            found = engine.play(number, _TURNS.value)
            rounds[engine.name].append(found)
        if ours is not None:
            long.append(spread(ours.play(number, _LONG.value)["ends"]))
        print(f"round {number} of {_ROUNDS.value}", file=sys.stderr, flush=True)
    for engine in engines:
        engine.close()
    reference = names[-1] if OURS not in names else OURS
    table = {
        name: figures(
            first[name],
            rounds[name],
            rounds[reference],
            work.prompt_tokens(work.turns),
        )
        for name in names
    }
    result = {"engines": table}
    if ours is not None:
        rate = table[OURS]["games_per_second"]
        for row in table.values():
            row["ours_is"] = rate / row["games_per_second"]
        turns = [statistics.median(x) for x in zip(*long, strict=True)]
        last = rounds[OURS][-1]
        result |= {
            "turn_seconds": turns,
            "turn8_over_turn2": turns[-1] / turns[1],
            "compiles_after_warmup": last["compiles"] - first[OURS]["compiles"],
            "host_syncs_per_turn": last["syncs"] / _TURNS.value,
        }
    return result


def figures(
    first: dict, rounds: list[dict], reference: list[dict], total: int
) -> dict:
    """Of one engine; medians over rounds. `total`: tokens of all prompts."""
    seconds = [found["ends"][-1] for found in rounds]
    median = statistics.median(seconds)
    games, turns = len(first["said"]), len(first["said"][0])
    tokens = sum(len(x) for game in first["said"] for t in game for x in t)
    per_turn = [spread(found["ends"]) for found in rounds]
    return {
        "games_per_second": games / median,
        "tokens_per_second": tokens / median,
        "seconds": seconds,
        "turn_seconds": [
            statistics.median(found[t] for found in per_turn)
            for t in range(turns)
        ],
        "prompt_tokens_computed": rounds[-1]["computed"],
        "prompt_tokens_reused": total - rounds[-1]["computed"],
        "warm_up_seconds": first["ends"][-1] - median,
        "peak_bytes": max(found["peak"] for found in rounds),
        "same_games": statistics.mean(
            same(a["said"], b["said"])
            for a, b in zip(rounds, reference, strict=True)
        ),
    }


def show(result: dict) -> str:
    """A table of all engines."""
    head = (
        f"{'':22}{'games/s':>8}{'tokens/s':>9}{'computed':>9}{'reused':>8}"
        f"{'ours is':>8}{'compile s':>10}{'peak MiB':>9}{'same games':>11}"
    )
    lines = [head]
    for name, row in result["engines"].items():
        lines.append(
            f"{name:22}{row['games_per_second']:8.2f}"
            f"{row['tokens_per_second']:9.0f}"
            f"{row['prompt_tokens_computed']:9}{row['prompt_tokens_reused']:8}"
            f"{row.get('ours_is', float('nan')):7.2f}x"
            f"{row['warm_up_seconds']:10.1f}{row['peak_bytes'] / 2**20:9.0f}"
            f"{row['same_games']:11.1%}"
        )
    if "turn8_over_turn2" in result:
        lines.append(
            f"ours: turn {_LONG.value} over turn 2: "
            f"{result['turn8_over_turn2']:.2f}x; compiles after warm-up: "
            f"{result['compiles_after_warmup']}; host syncs per turn: "
            f"{result['host_syncs_per_turn']:g}"
        )
    return "\n".join(lines)


def architecture() -> VLMConfig:
    """Of the model that is played with."""
    if _MODEL.value:
        return find_model(_MODEL.value, 0)
    from engines import make_llava  # only now: it imports PyTorch

    fields = make_llava.config(_SIZE.value).to_dict()
    return find_family(fields).config(fields)


def tell(names: list[str]) -> str:
    """What would be done; memory is that of our own engine."""
    model, turns = architecture(), max(_TURNS.value, _LONG.value)
    shapes = weights.abstract_params(model)
    count = sum(x.size for x in shapes.values())
    tokens = _IMAGES.value * model.tokens_per_image
    tokens += turns * (2 * _TOKENS.value + AROUND)
    held = memory.session_bytes(model, _GAMES.value, tokens)
    gib = (memory.tree_bytes(shapes) + held) / 2**30
    rounds, games = _ROUNDS.value, _GAMES.value
    return (
        f"{_MODEL.value or _SIZE.value}: {count / 1e6:,.1f} million params.\n"
        f"{', '.join(names)}: {rounds} rounds after the warm-up, each of "
        f"{games} games at once, of {_IMAGES.value} images, {_TURNS.value} "
        f"turns, {_TOKENS.value} tokens said by a role in a turn"
        + (f"; ours also {_LONG.value} turns" if OURS in names else "")
        + f".\nAbout {gib:.2f} GiB for params and the Guesser's cache, in each "
        f"of {len(names)} processes; vllm sets its cache's size itself."
    )


def main() -> None:
    names = list(_ENGINES.value)
    if "vllm" in names and not _VLLM.value:
        names.remove("vllm")
        print("vllm: not measured; --vllm_python does not name its Python.")
    if _DRY_RUN.value:
        print(tell(names))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        model = pathlib.Path(_MODEL.value or folder / "model")
        if not _MODEL.value:
            make = [sys.executable, ENGINES / "make_llava.py"]
            subprocess.run([*make, model, _SIZE.value], check=True)
        work = define_work(model, folder)
        result = measure(names, work, model, folder)
    print(show(result))
    least = min(row["same_games"] for row in result["engines"].values())
    settings = {
        flag.name: flag.value
        for flag in (_SIZE, _GAMES, _IMAGES, _TURNS, _TOKENS, _ROUNDS, _LONG)
    }
    if _JSON.value:
        path = pathlib.Path(_JSON.value)
        text = json.dumps({"settings": settings, **result}, indent=1)
        path.write_text(text + "\n")
    if least < LEAST_SAME:
        raise SystemExit(f"The engines disagree: {least:.0%} of games equal.")


if __name__ == "__main__":
    command_line.run(main)
