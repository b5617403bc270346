"""Which games and answers each arm learns from, and as what examples.

    arm          games                    answers              words
    main         kept by the filter       by credit, balanced  as said
    unfiltered   any complete ones        any                  as said
    lost         those the filter drops   any                  as said
    shuffled     as main                  as main              answers permuted
    inconsistent as main                  worst told again     as said
    replay_only  none                     none
    <a filter>   those that it keeps      any                  as said

Every control has at most as many games and as many answers as main kept; an
arm named after a filter ("success") shows what that filter alone does. With
`config.game.consistent` the answers of main are also those that survive being
told again best, within their kind; "inconsistent" takes as many of the others.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from vlm_games.data.examples import Example, read, said
from vlm_games.data.records import GameRecord
from vlm_games.games import filters
from vlm_games.games.prompts import Prompts
from vlm_games.games.protocol import GameSpec, PlayedGame
from vlm_games.methods.answers import (
    Answer,
    answers_of,
    sample,
    shuffle_answers,
    telling_answers,
)
from vlm_games.methods.copies import with_copies
from vlm_games.methods.game_figures import game_figures
from vlm_games.methods.method import (
    MAIN,
    REPLAY_ONLY,
    Selection,
    Stage,
    Workbench,
    count_branches,
)
from vlm_games.methods.shares import highest, lowest

INCONSISTENT = "inconsistent"
ARMS: tuple[str, ...] = (MAIN, "unfiltered", "lost", "shuffled", REPLAY_ONLY)
ARMS += tuple(name for name in filters.FILTERS if name != "complete")
ARMS += (INCONSISTENT,)


def select(
    records: Sequence[GameRecord],
    arm: str,
    config,
    bench: Workbench,
    seed: tuple[int, int],
    budget: Mapping[str, int] | None,
) -> Selection:
    """Chooses examples for an arm; see the table above.

    Args:
      config: `config.game`. seed: (seed, iteration).
      budget: main's Selection.budget, for controls.
    """
    as_main = arm in (MAIN, "shuffled", INCONSISTENT)
    draws = ARMS.index(MAIN if as_main else arm)
    rng = np.random.default_rng((*seed, draws))
    complete = [r for r in records if r.outcome != "aborted"]
    kept = [r for r in complete if r.kept]
    if as_main:
        rank = lowest if arm == INCONSISTENT else highest
        games, answers = kept, telling_answers(kept, config, bench, rng, rank)
    else:
        games = pool(complete, arm)
        answers = [a for r in games for a in answers_of(r)]
    if budget is not None:
        games = sample(rng, games, budget["kept"])
        answers = sample(rng, answers, budget["describer"])
    # A game can be kept for its answers though the Guesser named another
    # image: there is nothing for it to learn then.
    guessed = [r for r in games if not as_main or r.outcome == "success"]
    if budget is not None:
        guessed = sample(rng, guessed, budget["guesser"])
    if arm == "shuffled":
        answers = shuffle_answers(answers, bench, rng)
    guessed, images = with_copies(guessed, bench)
    examples = {
        "describer": describer_examples(answers, bench.prompts),
        "guesser": guesser_examples(guessed, bench, config),
    }
    return Selection(
        (Stage("sft", lambda params: examples, images={"guesser": images}),),
        kept=len(games),
        budget={"kept": len(games), **count_branches(examples)},
        figures=game_figures(records, bench, config),
    )


def pool(complete: Sequence[GameRecord], arm: str) -> list[GameRecord]:
    """The games that a control may learn from.

    Raises:
      ValueError: the arm is a filter whose evidence was not gathered.
    """
    if arm == REPLAY_ONLY:
        return []
    if arm == "unfiltered":
        return list(complete)
    if arm == "lost":
        return [r for r in complete if not r.kept]
    if any(arm not in r.filters for r in complete):
        raise ValueError(
            f"config.controls names the filter {arm!r}, whose evidence the "
            "games lack: set config.game.judges, repeats or reshuffles above 0 "
            "in a new --workdir, or leave the filter out."
        )
    return [r for r in complete if r.filters[arm]]


def describer_examples(
    answers: Sequence[Answer], prompts: Prompts
) -> list[Example]:
    """One example per image: its questions are branches of one trunk."""
    by_image: dict[int, list[Answer]] = {}
    for answer in answers:
        by_image.setdefault(answer[0], []).append(answer)
    trunk = (read(prompts.describer_trunk()),)
    return [
        Example(
            (image,),
            trunk,
            tuple(
                (
                    read(prompts.question_only(question)),
                    said(prompts.reply(answer)),
                    said(prompts.end, 0.1),
                )
                for _, question, answer in group[i : i + 4]
            ),
        )
        for image, group in by_image.items()
        for i in range(0, len(group), 4)
    ]


def asks_all(game: int, share: float) -> bool:
    """Whether the Guesser of this game asks all its questions; evenly spread.

    A Guesser that wins guesses sooner and sooner, so that there are ever fewer
    answers to learn from; this is what keeps it asking.
    """
    return int((game + 1) * share) > int(game * share)


def guesser_examples(
    games: Sequence[GameRecord], bench: Workbench, config
) -> list[Example]:
    """One example per game; config: `config.game`."""
    rules = bench.config.play
    listens = rules.guess == "likelihood"  # such a Guesser never guesses
    return [
        guesser_example(
            game,
            bench.prompts,
            rules,
            listens or asks_all(game.game, config.asks_all),
        )
        for game in games
    ]


def guesser_example(
    record: GameRecord, prompts: Prompts, rules, must_ask: bool
) -> Example:
    """A game as the Guesser saw it; its own words are learned.

    Args:
      rules: `config.play`; of these, `style` and `turns`.
      must_ask: whether it had no choice but to ask all its questions. What it
        asked is learned then; that it asked instead of guessing is only read.
    """
    opening = prompts.open_game(len(record.images), rules.style)
    pieces = [read(opening), read(prompts.next_cue(False))]
    for number, turn in enumerate(record.turns, start=1):
        if must_ask:
            asked = prompts.gap.join([f" {turn.question}", prompts.end])
            pieces.append(said(prompts.sum_up(turn.summary), 0.3))
            pieces += [read(prompts.ask), said(asked, 0.3)]
        else:
            move = f"{prompts.ask} {turn.question}"
            pieces.append(said(prompts.speak(turn.summary, move), 0.3))
        pieces.append(read(prompts.hear(turn.answer, number >= rules.turns)))
    if record.final_summary and record.guess is not None:  # it was spoken
        guess = f"{prompts.guess} {record.guess + 1}"
        pieces.append(said(prompts.speak(record.final_summary, guess)))
    return Example(record.images, tuple(pieces))


def script(game: PlayedGame, shuffle: tuple[int, ...] | None) -> GameSpec:
    """The same dialog for asking the Guesser again, images re-shuffled."""
    spec = game.spec
    order = np.arange(len(spec.images))
    if shuffle is not None:
        order = np.random.default_rng((*shuffle, spec.game)).permutation(order)
    return GameSpec(
        spec.game,
        tuple(spec.images[i] for i in order),
        int(np.flatnonzero(order == spec.target)[0]),
        tuple((x.question, x.answer) for x in game.exchanges),
    )
