"""Multiple choice on a description in the image's place: text in, text out.

What a language model does with a caption is what the paper of training on
text alone (arXiv 2503.16965 v1) compares image-reading models with. Here the
model describes the image itself, greedily, and then answers without it.
"""

from collections.abc import Sequence

from vlm_games.evaluation.choices import Choice, choice_accuracy
from vlm_games.evaluation.speaker import Speaker
from vlm_games.games.play import Role


def captioned_accuracy(
    speaker: Speaker,
    role: Role,
    items: Sequence[Choice],
    seed: int,
    descriptions: Sequence[str],
) -> dict:
    """Asks every item about the model's own description of its image.

    Args:
      items: as for `choice_accuracy`, whose options are in the same orders
        for the same `seed`, so that the two compare item by item.
      descriptions: of all images, see `evaluation.descriptions.describe`.

    Returns:
      captioned_choice, captioned_unparsed, captioned_unscored: as `choice`,
      `choice_unparsed` and `choice_unscored` of `choices.score`.
    """
    found = choice_accuracy(
        speaker,
        role,
        items,
        seed,
        [descriptions[item.image] for item in items],
    )
    return {
        f"captioned_{name.removeprefix('choice_')}": value
        for name, value in found.items()
    }
