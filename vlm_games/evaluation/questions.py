"""Question answering with the world's truth, on held-out scenes."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from vlm_games.data.examples import Example, read, said
from vlm_games.games.prompts import Prompts
from vlm_games.sampling.scoring import Scorer
from vlm_games.worlds import questions as world


@dataclasses.dataclass(frozen=True)
class Item:
    """One question about one image: `answer` is the only right one."""

    image: int
    question: world.Question
    answer: str


def draw_items(scenes: Sequence, seed: int, open_kinds: int = 4) -> list[Item]:
    """Questions about every scene, balanced over kinds and over yes and no.

    Per scene: of every yes/no kind one question, whose answer is yes for
    every other scene where such a question exists; and `open_kinds` open
    questions of different kinds with one right answer that is not "none".
    """
    kinds: dict[str, list[world.Question]] = {}
    for question in world.QUESTIONS:
        kinds.setdefault(question.kind, []).append(question)
    items: list[Item] = []
    for image, scene in enumerate(scenes):
        rng = np.random.default_rng((seed, image))
        open_found: list[Item] = []
        for number, (_, group) in enumerate(sorted(kinds.items())):
            answered = [(q, world.answers(q, scene)) for q in group]
            if group[0].yes_no:
                wanted = {"yes"} if (image + number) % 2 else {"no"}
                fitting = [(q, a) for q, a in answered if a == wanted]
                found = items
            else:
                fitting = [
                    (q, a)
                    for q, a in answered
                    if len(a) == 1 and "none" not in a
                ]
                found = open_found
            if fitting:
                q, a = fitting[rng.integers(len(fitting))]
                found.append(Item(image, q, *a))
        rng.shuffle(open_found)
        items += open_found[:open_kinds]
    return items


def answer_accuracy(
    scorer: Scorer,
    prompts: Prompts,
    params,
    image_tokens,
    items: Sequence[Item],
    before: Mapping[int, str] | None = None,
) -> dict:
    """Accuracy of greedy and of sampled answers, percent.

    Args:
      before: words between an image and its questions, such as a description.

    Returns:
      yes_no: mean of the accuracy on true yes and on true no; yes, no: the
      two; other: open questions; kinds: by question kind (yes/no kinds
      balanced likewise); sampled_yes_no, sampled_other: the same expected of
      answers sampled at temperature 1.
    """
    before = before or {}
    by_image: dict[int, list[Item]] = {}
    for item in items:
        by_image.setdefault(item.image, []).append(item)
    examples = [
        Example(
            (image,),
            (read(prompts.describer_trunk() + before.get(image, "")),),
            tuple(
                (
                    read(prompts.question_only(i.question.text)),
                    said(prompts.reply(i.answer)),
                )
                for i in group
            ),
        )
        for image, group in by_image.items()
    ]
    scores = scorer.score(params, image_tokens, examples)
    flat = [s for row in scores for s in row]
    ordered = [i for group in by_image.values() for i in group]
    greedy = np.array([s.greedy for s in flat], float)
    sampled = np.exp([s.log_prob for s in flat])
    return _summary(ordered, greedy) | {
        f"sampled_{name}": value
        for name, value in _summary(ordered, sampled).items()
        if name in ("yes_no", "other")
    }


def _summary(items: Sequence[Item], right: np.ndarray) -> dict:
    """Percentages of `right`, one number in [0, 1] per item."""
    answers = np.array([i.answer for i in items])
    kinds = np.array([i.question.kind for i in items])
    yes_no = np.array([i.question.yes_no for i in items])

    def mean(where):
        return 100.0 * float(right[where].mean()) if where.any() else None

    def balanced(where):
        sides = [mean(where & (answers == a)) for a in ("yes", "no")]
        sides = [s for s in sides if s is not None]
        return sum(sides) / len(sides) if sides else None

    return {
        "yes_no": balanced(yes_no),
        "yes": mean(yes_no & (answers == "yes")),
        "no": mean(yes_no & (answers == "no")),
        "other": mean(~yes_no),
        "kinds": {
            str(kind): balanced(kinds == kind)
            if yes_no[kinds == kind][0]
            else mean(kinds == kind)
            for kind in np.unique(kinds)
        },
    }
