"""What a run would take on machines that are not here: arithmetic, no devices.

    reading   2 P operations a token, at `USED` of what a chip computes
    saying    each token step moves the weights once, and every row's cache

P is the number of params. Figures of a machine are its maker's; what is assumed
stands in capitals. docs/scaling.md holds the results, and a test that they are.
"""

import dataclasses

USED = 0.4  # of a chip's operations, while it reads
MOVED = 0.6  # of its memory's bandwidth, while it says
BYTES = 2  # of a number, bfloat16
GUESSED, ANSWERED = 28, 4  # tokens said by the roles in a turn
WORDS = 250  # tokens of text that a game reads beside its images
STORED = 1e9  # bytes a second that a host writes to where the workdir is
HELD = 370  # bytes in memory of a game of 4 turns that is chosen from; measured
LINE = 2_000  # bytes of its record
NAME = 200  # bytes of an image's name and length in memory
DECODING = 5e-3  # seconds of a core for a picture of 1 megapixel
CORES = 8  # that decode on a host


@dataclasses.dataclass(frozen=True)
class Machine:
    """Hosts alike.

    Attributes:
      hosts: how many. chips: of each. operations: of a chip, bfloat16, a
        second. memory: of a chip, bytes. bandwidth: of it, bytes a second.
      network: between hosts, bytes a second of each.
    """

    hosts: int
    chips: int
    operations: float
    memory: float
    bandwidth: float
    network: float


@dataclasses.dataclass(frozen=True)
class Model:
    """What counts of a model.

    Attributes:
      params: P. cached: bytes of a token's keys and values.
      image: tokens of an image. width: numbers of an image token.
      together: chips that hold it while it plays.
      rows: games at once with one model.
    """

    params: float
    cached: float
    image: int
    width: int
    together: int
    rows: int


MACHINES = {
    "v5p-128": Machine(16, 4, 459e12, 95e9, 2.765e12, 25e9),
    "64 x H100": Machine(8, 8, 989e12, 80e9, 3.35e12, 400e9),
}
MODELS = {
    "7B": Model(7.06e9, 2 * 32 * 32 * 128 * BYTES, 576, 4096, 1, 16),
    "27B": Model(27.4e9, 2 * 62 * 16 * 128 * BYTES, 256, 5376, 4, 64),
}
IMAGES, PER_GAME, TURNS, VIEWS = 10_000_000, 4, 4, 2
GAMES = IMAGES // PER_GAME  # each image is in one game, on average


def games_a_second(machine: Machine, model: Model) -> float:
    """Played and judged on the whole machine."""
    chips = machine.hosts * machine.chips
    return chips / (reading(machine, model) + saying(machine, model))


def reading(machine: Machine, model: Model) -> float:
    """Seconds of a chip for what a game reads: openings, turns, judging."""
    opened = (PER_GAME + 1) * model.image + WORDS
    judged = VIEWS * PER_GAME * (model.image + TURNS * (GUESSED + ANSWERED))
    operations = 2 * model.params * (opened + judged)
    return operations / (USED * machine.operations)


def saying(machine: Machine, model: Model) -> float:
    """Seconds of a chip for what a game says."""
    steps = (TURNS + 1) * GUESSED + TURNS * ANSWERED
    held = PER_GAME * model.image + WORDS  # tokens in a row's cache
    moved = BYTES * model.params + model.rows * held * model.cached
    step = moved / model.together / (MOVED * machine.bandwidth)
    return steps * step * model.together / model.rows


def device_bytes(model: Model) -> float:
    """Of a chip while a model is measured: three models, caches of its rows."""
    held = PER_GAME * model.image + WORDS
    caches = model.rows * held * model.cached
    return (3 * BYTES * model.params + caches) / model.together


def checkpoint_seconds(machine: Machine, model: Model) -> float:
    """To write a whole training state: params and two moments."""
    return 3 * BYTES * model.params / (machine.hosts * STORED)


def host_bytes() -> dict[str, float]:
    """Held by every host for IMAGES and GAMES, "lines" in a file."""
    return {
        "names": IMAGES * NAME,
        "games": GAMES * HELD,
        "lines": GAMES * LINE,
    }


def bank_bytes(model: Model) -> float:
    """Of the image tokens of all images, under every view."""
    return IMAGES * model.image * model.width * BYTES * VIEWS


def looking_hours() -> float:
    """For a host to decode every image once."""
    return IMAGES * DECODING / CORES / 3600


def exchanged(machine: Machine, model: Model, fsdp_hosts: int) -> float:
    """Bytes that a host sends to others in a training step.

    Over `fsdp`: params are gathered twice and gradients scattered once; over
    `data`: each host's part of the gradients is summed, which takes two passes.

    Args:
      fsdp_hosts: hosts that "fsdp" spans.
    """
    whole = BYTES * model.params
    groups = machine.hosts // fsdp_hosts
    inside = 3 * whole * (fsdp_hosts - 1) / fsdp_hosts
    across = 2 * whole / fsdp_hosts * (groups - 1) / groups
    return inside + across
