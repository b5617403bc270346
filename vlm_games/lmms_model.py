"""Our models for lmms-eval, which then runs its own tasks on them.

    pip install -e '.[lmms]'
    python -m lmms_eval --model vlm_games --model_args base=DIR_OR_HUB_ID \\
        --tasks pope --batch_size 16

lmms-eval finds this module by the entry point in setup.py.
"""

import io
from collections.abc import Mapping, Sequence

from vlm_games.evaluation.benchmarks.benchmark import Question
from vlm_games.respondent import load_respondent

try:
    from lmms_eval.api.model import lmms
    from lmms_eval.models.registry_v2 import ModelManifest
except ImportError as error:
    raise ImportError(
        "vlm_games.lmms_model is for lmms-eval, which is not installed: "
        "pip install 'vlm_games[lmms]'."
    ) from error

TOKENS = 128  # most of an answer where the task does not say


def manifest() -> ModelManifest:
    """What lmms-eval is told of the model `vlm_games`."""
    return ModelManifest(
        model_id="vlm_games",
        chat_class_path="vlm_games.lmms_model.VlmGames",
    )


class VlmGames(lmms):
    """A shipped base, a directory or a public checkpoint; answers greedily."""

    is_simple = False

    def __init__(
        self,
        base: str = "",
        dtype: str = "bfloat16",
        batch_size: int | str = 1,
        max_batch_size: int | None = None,
        device: str | None = None,
    ):
        """`base` as in `vlm_games.evaluate`; JAX chooses the device."""
        del max_batch_size, device
        super().__init__()
        self._batch = int(batch_size)
        self._respondent = load_respondent(base, dtype, self._batch)

    def generate_until(self, requests) -> list[str]:
        """Answers in the order of the requests, cut at a task's stop words."""
        said: list[str] = [""] * len(requests)
        by_tokens: dict[int, list[int]] = {}
        for number, request in enumerate(requests):
            tokens = request.args[2].get("max_new_tokens", TOKENS)
            by_tokens.setdefault(tokens, []).append(number)
        for tokens, numbers in by_tokens.items():
            for start in range(0, len(numbers), self._batch):
                part = numbers[start : start + self._batch]
                questions = [self._question(n, requests[n]) for n in part]
                # The task says itself how it wants to be answered.
                answers = self._respondent.say(questions, ".", tokens, "")
                for number, answer in zip(part, answers, strict=True):
                    stops = requests[number].args[2].get("until")
                    said[number] = cut(answer, stops)
        return said

    def loglikelihood(self, requests):
        raise NotImplementedError(
            "vlm_games gives lmms-eval answers, no likelihoods: take tasks of "
            "output_type generate_until."
        )

    def generate_until_multi_round(self, requests):
        raise NotImplementedError(
            "vlm_games answers lmms-eval once a question: take tasks of "
            "output_type generate_until."
        )

    def _question(self, number: int, request) -> Question:
        _, to_messages, _, doc, task, split = request.args
        found = to_messages(self.task_dict[task][split][doc])
        text, images = read_messages(found)
        return Question(number, text, images)


def read_messages(messages: Sequence[Mapping]) -> tuple[str, tuple]:
    """The words of a task's messages, and its images as bytes.

    Raises:
      ValueError: a message shows what is neither text nor an image.
    """
    words, images = [], []
    for message in messages:
        for item in message["content"]:
            if item["type"] == "text":
                words.append(item["text"])
            elif item["type"] == "image":
                content = io.BytesIO()
                item["url"].convert("RGB").save(content, "PNG")
                images.append(content.getvalue())
            else:
                raise ValueError(
                    f"The task shows a {item['type']}; vlm_games reads text "
                    "and images."
                )
    return "\n".join(words), tuple(images)


def cut(answer: str, stops: str | Sequence[str] | None) -> str:
    """The answer up to the first of the stop words."""
    for stop in (stops,) if isinstance(stops, str) else stops or ():
        answer = answer.split(stop)[0] if stop else answer
    return answer
