"""What a run computes: tokens, operations, hours; told before it begins.

Operations are of the matrix products alone, with P the params that a token
goes through: 2 P to read or say it, 6 P to learn it; 4 P where only adapters
are learned, and 2 P more with remat. Attention is left out, and so are pads;
words are counted as if all came to their limit.
"""

import dataclasses

from vlm_games.methods.method import MAIN
from vlm_games.methods.registry import METHODS, arms_of
from vlm_games.planning import budget, memory
from vlm_games.planning.plan import Plan
from vlm_games.training.lora import part_of

QUESTIONS = 10  # of an image, that are measured; rather too many


@dataclasses.dataclass(frozen=True)
class Cost:
    """Of a phase, over the whole run and all devices.

    Attributes:
      name: of the phase. times: that it comes.
      said, read: tokens generated, and read or learned.
      tflop: operations, in 10^12.
    """

    name: str
    times: int
    said: float
    read: float
    tflop: float


def costs(plan: Plan) -> list[Cost]:
    """Of candidates, of every stage, and of measuring."""
    arms = arms_of(plan.config)
    idle = METHODS[plan.config.method].idle
    rounds = plan.config.iterations
    # In the first round controls take main's candidates.
    active = sum(arm not in idle for arm in arms)
    making = min(rounds, 1) + max(rounds - 1, 0) * active
    lessons = [
        lesson_cost(plan, x, making if x.warm_up else rounds * len(arms))
        for x in plan.estimate.lessons
    ]
    return [
        candidates_cost(plan, making),
        *lessons,
        measure_cost(plan, 1 + rounds * len(arms), rounds),
    ]


def _flop(plan: Plan, tokens: float, images: float) -> float:
    """Of a forward pass, in 10^12."""
    sizes = {"vision": 0, "decoder": 0}
    for path, shape in plan.shapes.items():
        part = part_of(path)
        sizes["vision" if part == "vision" else "decoder"] += shape.size
    seen = images * memory.tower_tokens(plan.model)
    return 2e-12 * (sizes["decoder"] * tokens + sizes["vision"] * seen)


def candidates_cost(plan: Plan, times: int) -> Cost:
    """Of all that is said and scored to make and to judge candidates."""
    estimate, limit = plan.estimate, plan.config.generated_tokens
    said = float(sum(x.count * x.said for x in estimate.talks))
    read = float(sum(x.count * x.read for x in estimate.talks))
    # A round that may say so much makes no more of what it reads, either.
    share = min(1.0, limit / said) if limit else 1.0
    said, read = times * share * said, times * share * read
    tflop = _flop(plan, said + read, times * estimate.views)
    return Cost("candidates", times, said, read, tflop)


def lesson_cost(plan: Plan, lesson, times: int) -> Cost:
    """Of a stage of training."""
    c = budget.settings_of(plan, lesson)
    fed = budget.streams(plan, lesson)
    rows = times * c.steps * plan.batch_shards
    tokens = rows * sum(c.rows[x] * c.lengths[x] for x in fed)
    images = rows * sum(c.rows[x] * fed[x] for x in fed)
    passes = 2 if c.lora.rank else 3
    passes += bool(c.remat)
    seen = passes if "vision" in budget.trained_parts(c) else 1
    tflop = passes * _flop(plan, tokens, 0) + seen * _flop(plan, 0, images)
    return Cost(lesson.name, times, 0, tokens, tflop)


def measure_cost(plan: Plan, times: int, guarded: int) -> Cost:
    """Of measuring; guards are of main's `guarded` rounds and of the base."""
    c, play = plan.config.eval, plan.settings
    guesser, describer = plan.capacities()
    games = times * c.games + 2 * (1 + guarded) * c.guard_games
    words = (play.turns + 1) * play.guesser_tokens
    words += play.turns * play.answer_tokens
    whole = guesser + play.turns * describer
    whole += plan.images * plan.listened()
    said = float(games * words)
    read = float(games * (whole - words))
    for talk in budget.measured_talks(plan):
        said += times * talk.count * talk.said
        read += times * talk.count * talk.read
    images = c.target_images + c.source_images
    read += times * images * QUESTIONS * plan.listened() / max(play.turns, 1)
    images += 3 * budget.measured_on(plan)
    tflop = _flop(plan, said + read, times * images)
    return Cost("measure", times, said, read, tflop)


def learners(plan: Plan) -> str:
    """Who learns, in words."""
    others = [arm for arm in arms_of(plan.config) if arm != MAIN]
    beside = f", and beside it {', '.join(others)}" if others else ""
    return f"{plan.config.iterations} rounds of {MAIN}{beside}"
