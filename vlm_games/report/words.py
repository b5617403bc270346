"""The words of the pages, each in a sentence or two."""

from collections.abc import Iterable, Mapping

GUIDE = "docs/howto/reading-a-report.md"

ARMS = {
    "main": "The model that learns from the candidates that the filter keeps.",
    "unfiltered": "A control. It learns from as many games and answers as main "
    "kept, if there are so many, drawn blindly from all that were not aborted. "
    "Main's lead over it, beyond chance, is what the filter is worth.",
    "lost": "A control. It learns from games that the filter drops.",
    "shuffled": "A control. It learns from main's games, with the answers in "
    "each other's places.",
    "replay_only": "A control. It learns from no game, only from what the base "
    "was trained on.",
}
FILTERS = {
    "complete": "Keeps every game that was not aborted.",
    "success": "Keeps games in which the Guesser named the target.",
    "likelihood": "Keeps games whose answers are likelier of the target than "
    "of any other image, whatever the Guesser named.",
    "views": "As likelihood, judged by other views of the images than those "
    "that were played with: what is misread in one is seldom misread in both.",
    "again": "Keeps games that are won a second time with the same dialog.",
    "reshuffled": "Keeps games that are won in other orders of the images too.",
    "credit (answers)": "Keeps single answers, not games: those that fit the "
    "target better than the average image.",
    "openly (answers)": "Of these, drops a yes or no that the Describer goes "
    "against when asked openly: “what color is the object at the top ?” in "
    "place of “is there a red object at the top ?”.",
    "sure (answers)": "Of these, for each answer to a kind of question, keeps "
    "those of which the Describer was surest.",
}
FIGURES = {
    "lift": "How much truer kept answers are than dropped ones to the same "
    "kind of question and with the same answer. It may have the opposite sign "
    "of the plain difference, since kept games ask other questions, often "
    "harder ones; believe the lift.",
    "balanced accuracy": "The mean of the accuracy on questions whose answer "
    "is yes and on those whose answer is no: saying yes to all gives 50 %.",
    "source, target": "Source images are those that the base learned from, "
    "with labels; target images look otherwise, and no label of them is used.",
    "candidates, kept": "What was made in an iteration, and what the filter "
    "left of it to learn from.",
    "chance": "What a blind guess wins: with N images a game, 100/N %.",
}
GAMES = {
    "before asking": "What the Guesser notes to itself, in its own words: "
    "“1 yes 2 no” says that image 1 may still be the target and image 2 not.",
    "belief": "How likely each image is the target after the answers so far, "
    "judged by a Describer who is shown every image. It is not the Guesser's.",
    "credit": "Of an answer: how much better it fits the target than the "
    "average image.",
}


def explain(
    arms: Mapping[str, list[dict]], games: bool
) -> list[tuple[str, str]]:
    """(word, meaning) of those that a run's pages have.

    Args:
      arms: arm -> its metrics. games: whether games are shown.
    """
    filters = {
        name
        for rows in arms.values()
        for row in rows
        for name in row.get("filters") or ()
    }
    found = [*_those(ARMS | FILTERS, arms), *_those(FILTERS, filters)]
    found += FIGURES.items()
    return list(dict.fromkeys(found + list(GAMES.items()) * games))


def _those(
    words: Mapping[str, str], names: Iterable[str]
) -> list[tuple[str, str]]:
    return [(word, words[word]) for word in words if word in names]
