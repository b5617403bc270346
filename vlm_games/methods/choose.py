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

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from vlm_games.data.examples import Deferred, Example, read, said
from vlm_games.data.images import ImageSource
from vlm_games.data.records import GameRecord
from vlm_games.games import filters
from vlm_games.games.prompts import Prompts
from vlm_games.games.protocol import GameSpec, PlayedGame
from vlm_games.methods.answers import group, sample, shuffle_within, telling
from vlm_games.methods.copies import with_copies
from vlm_games.methods.game_figures import game_figures
from vlm_games.methods.ledger import Answer, Ledger, read_ledger
from vlm_games.methods.method import (
    MAIN,
    REPLAY_ONLY,
    Selection,
    Stage,
    Workbench,
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
    ledger = read_ledger(records, bench)
    if as_main:
        pool = ledger.complete & ledger.kept
        rank = lowest if arm == INCONSISTENT else highest
        answers = telling(ledger, pool, config, rng, rank)
    else:
        pool = pool_of(ledger, arm)
        answers = ledger.turns_of(pool)
    games = np.flatnonzero(pool)
    if budget is not None:
        games = sample(rng, games, budget["kept"])
        answers = sample(rng, answers, budget["describer"])
    # A game can be kept for its answers though the Guesser named another
    # image: there is nothing for it to learn then.
    guessed = games[ledger.won[games]] if as_main else games
    if budget is not None:
        guessed = sample(rng, guessed, budget["guesser"])
    given = answers
    if arm == "shuffled":
        kinds = [ledger.kinds[name] for name in ledger.strata[answers]]
        given = answers[shuffle_within(kinds, rng)]
    guesser, images = guesser_examples(ledger, guessed, bench, config)
    examples = {
        "describer": answer_examples(ledger, answers, given, bench.prompts),
        "guesser": guesser,
    }
    return Selection(
        (Stage("sft", lambda params: examples, images={"guesser": images}),),
        kept=len(games),
        budget={
            "kept": len(games),
            "describer": len(answers),
            "guesser": len(guessed),
        },
        figures=game_figures(ledger, config),
    )


def pool_of(ledger: Ledger, arm: str) -> np.ndarray:
    """bool [G]: the games that a control may learn from.

    Raises:
      ValueError: the arm is a filter whose evidence was not gathered.
    """
    complete = ledger.complete
    if arm == REPLAY_ONLY:
        return np.zeros_like(complete)
    if arm == "unfiltered":
        return complete
    if arm == "lost":
        return complete & ~ledger.kept
    verdicts = ledger.filters.get(arm, np.full(len(complete), filters.UNKNOWN))
    if (verdicts[complete] == filters.UNKNOWN).any():
        raise ValueError(
            f"config.controls names the filter {arm!r}, whose evidence the "
            "games lack: set config.game.judges, repeats or reshuffles above 0 "
            "in a new --workdir, or leave the filter out."
        )
    return complete & (verdicts == 1)


def describer_examples(
    answers: Sequence[Answer], prompts: Prompts
) -> list[Example]:
    """One example per image: its questions are branches of one trunk."""
    images = np.array([image for image, _, _ in answers], np.int64)
    return [
        describer_example([answers[place] for place in some], prompts)
        for some in by_image(images)
    ]


def answer_examples(
    ledger: Ledger, answers: np.ndarray, given: np.ndarray, prompts: Prompts
) -> Deferred:
    """The same of turns; `given`: those whose answers are learned."""
    some = by_image(ledger.images[ledger.games[answers]])

    def make(number: int) -> Example:
        return describer_example(
            [
                ledger.answer(answers[place], given[place])
                for place in some[number]
            ],
            prompts,
        )

    return deferred(ledger, len(some), make, answers, given)


def by_image(images: np.ndarray) -> list[np.ndarray]:
    """Places of equal images, at most four together."""
    return [
        places[i : i + 4]
        for places in group(images)
        for i in range(0, len(places), 4)
    ]


def describer_example(answers: Sequence[Answer], prompts: Prompts) -> Example:
    """Answers about one image."""
    return Example(
        (answers[0][0],),
        (read(prompts.describer_trunk()),),
        tuple(
            (
                read(prompts.question_only(question)),
                said(prompts.reply(answer)),
                said(prompts.end, 0.1),
            )
            for _, question, answer in answers
        ),
    )


def deferred(ledger: Ledger, count: int, make, *chosen: np.ndarray) -> Deferred:
    """Examples of chosen games or turns, which are told by their numbers."""
    numbers = b"".join(some.astype("<i8").tobytes() for some in chosen)
    digest = hashlib.sha256(numbers).hexdigest()
    first = make(0) if count else None
    return Deferred(count, make, f"{digest} of {ledger.records!r}: {first!r}")


def asks_all(game: int, share: float) -> bool:
    """Whether the Guesser of this game asks all its questions; evenly spread.

    A Guesser that wins guesses sooner and sooner, so that there are ever fewer
    answers to learn from; this is what keeps it asking.
    """
    return int((game + 1) * share) > int(game * share)


def guesser_examples(
    ledger: Ledger, games: np.ndarray, bench: Workbench, config
) -> tuple[Deferred, ImageSource]:
    """One example per game, and the images that they count.

    Args:
      games: int [n], places in the ledger. config: `config.game`.
    """
    rules = bench.config.play
    listens = rules.guess == "likelihood"  # such a Guesser never guesses
    copied = games[ledger.copied[games]]
    numbered, images = with_copies([ledger.records[g] for g in copied], bench)
    shown = [game.images for game in numbered]
    seen = dict(zip(copied.tolist(), shown, strict=True))

    def make(number: int) -> Example:
        place = int(games[number])
        game = ledger.records[place]
        if place in seen:
            game = dataclasses.replace(game, images=seen[place])
        must_ask = listens or asks_all(game.game, config.asks_all)
        return guesser_example(game, bench.prompts, rules, must_ask)

    return deferred(ledger, len(games), make, games), images


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
