"""What each arm learns from, and with which words the loss is taken."""

import collections
import dataclasses
import types

import numpy as np
import pytest

from vlm_games.data.packing import encode
from vlm_games.data.records import GameRecord, Turn
from vlm_games.data.tokenizer import word_tokenizer
from vlm_games.games.filters import FILTERS
from vlm_games.games.prompts import Prompts, prompt_words
from vlm_games.games.protocol import GameSettings
from vlm_games.methods import choose
from vlm_games.methods.answers import shuffle_answers, telling_answers
from vlm_games.workbench import stratum
from vlm_games.worlds import questions as world

PROMPTS = Prompts()
RULES = GameSettings(turns=3)
BENCH = types.SimpleNamespace(
    prompts=PROMPTS,
    stratum=stratum,
    config=types.SimpleNamespace(play=RULES),
    images=(),
)
CONFIG = types.SimpleNamespace(
    credit=0.1,
    openly=False,
    sure=0.0,
    balance=True,
    asks_all=0.0,
    filter="success",
    consistent=0.0,
)
SEED = (0, 1)
CONTROLS = ("unfiltered", "lost", "shuffled")


def turn(question, answer, credit=1.0):
    return Turn(question, answer, "1 yes 2 yes", -3.0, -0.1, None, credit, None)


def record(game, turns, outcome="success", kept=True, images=(0, 1)):
    """A game whose target is its second image."""
    return GameRecord(
        game=game,
        iteration=1,
        seed=0,
        images=images,
        names=tuple(str(i) for i in images),
        target=1,
        turns=tuple(turns),
        final_summary="1 no 2 yes",
        guess={"success": 1, "lose": 0, "aborted": None}[outcome],
        belief=(0.5, 0.5),
        outcome=outcome,
        reason="empty answer" if outcome == "aborted" else None,
        filters=dict.fromkeys(FILTERS, kept),
        kept=kept,
    )


@pytest.fixture(scope="module")
def records():
    """300 games of 1-3 turns; a third kept, of which a quarter was lost."""
    rng = np.random.default_rng(0)
    found = []
    for game in range(300):
        turns = []
        for _ in range(rng.integers(1, 4)):
            question = world.QUESTIONS[rng.integers(len(world.QUESTIONS))]
            words = ("yes", "no") if question.yes_no else ("red", "ring")
            # More yes than no, as the base's Describer says.
            answer = words[int(rng.random() > 0.7)]
            turns.append(turn(question.text, answer, rng.normal(0.3, 0.3)))
        kept = rng.random() < 1 / 3
        won = rng.random() < (0.75 if kept else 0.4)
        outcome = "success" if won else "lose"
        if not kept and rng.random() < 0.2:
            outcome = "aborted"
        images = tuple(rng.choice(40, 2, replace=False).tolist())
        found.append(record(game, turns, outcome, kept, images))
    return found


def selected(records, arm, budget=None):
    return choose.select(records, arm, CONFIG, BENCH, SEED, budget)


def examples_of(selection):
    (stage,) = selection.stages
    return stage.examples(None)


def answers_of(selection):
    """(image, question, answer) of every Describer branch."""
    return [
        (e.images[0], branch[0].text, branch[1].text)
        for e in examples_of(selection)["describer"]
        for branch in e.branches
    ]


# Arms -------------------------------------------------------------------------


@pytest.mark.parametrize("arm", CONTROLS)
def test_a_control_has_as_many_games_and_answers_as_main(records, arm):
    main = selected(records, "main")
    assert main.budget["kept"] > main.budget["guesser"] > 50
    assert main.budget["describer"] > 50
    assert selected(records, arm, main.budget).budget == main.budget


def test_replay_only_learns_from_no_game(records):
    found = selected(records, "replay_only", selected(records, "main").budget)
    assert found.budget == {"kept": 0, "describer": 0, "guesser": 0}


def test_an_arm_named_after_a_filter_takes_what_that_filter_keeps(records):
    marked = [
        dataclasses.replace(
            r,
            images=(2 * i, 2 * i + 1),
            turns=r.turns[:1],
            filters={**r.filters, "success": r.outcome == "success"},
        )
        for i, r in enumerate(records)
    ]
    budget = {"kept": 60, "describer": 60, "guesser": 60}
    found = selected(marked, "success", budget)
    answered = {image // 2 for image, _, _ in answers_of(found)}
    assert len(answered) == 60
    assert {records[i].outcome for i in answered} == {"success"}
    assert any(not records[i].kept for i in answered)


def test_a_filter_without_evidence_is_named(records):
    bare = [dataclasses.replace(r, filters={"success": True}) for r in records]
    with pytest.raises(ValueError, match="'views', whose evidence"):
        selected(bare, "views", selected(records, "main").budget)


def test_main_takes_kept_games_and_only_winners_teach_the_guesser(records):
    kept = [r for r in records if r.kept]
    won = [r.images for r in kept if r.outcome == "success"]
    main = selected(records, "main")
    assert main.kept == len(kept)
    assert [e.images for e in examples_of(main)["guesser"]] == won
    targets = {r.images[r.target] for r in kept}
    assert {image for image, _, _ in answers_of(main)} <= targets


def test_lost_takes_only_what_the_filter_drops(records):
    # Images that tell which game an example is from.
    marked = [
        dataclasses.replace(r, images=(2 * i, 2 * i + 1), turns=r.turns[:1])
        for i, r in enumerate(records)
    ]
    budget = {"kept": 60, "describer": 60, "guesser": 60}
    found = selected(marked, "lost", budget)
    games = {e.images[0] // 2 for e in examples_of(found)["guesser"]}
    answered = {image // 2 for image, _, _ in answers_of(found)}
    assert len(games) == len(answered) == 60
    for i in games | answered:
        assert not records[i].kept and records[i].outcome != "aborted"


def test_shuffled_learns_mains_games_with_its_answers_mixed_up(records):
    main = selected(records, "main")
    shuffled = selected(records, "shuffled", main.budget)
    assert examples_of(shuffled)["guesser"] == examples_of(main)["guesser"]
    asked = [[a[:2] for a in answers_of(s)] for s in (main, shuffled)]
    assert asked[0] == asked[1]
    given = [[a[2] for a in answers_of(s)] for s in (main, shuffled)]
    moved = np.mean([a != b for a, b in zip(*given, strict=True)])
    assert 0.2 < moved < 0.8


def test_shuffling_keeps_the_answers_of_each_kind(records):
    answers = telling_answers(records, CONFIG, BENCH, rng=rng())

    def per_kind(answers):
        return collections.Counter(
            (world.BY_TEXT[question].kind, answer)
            for _, question, answer in answers
        )

    shuffled = shuffle_answers(answers, BENCH, rng())
    assert shuffled != answers
    assert per_kind(shuffled) == per_kind(answers)


@pytest.mark.parametrize("arm", ["main", *CONTROLS])
def test_a_choice_is_the_same_when_made_again(records, arm):
    budget = None if arm == "main" else selected(records, "main").budget
    first, again = (selected(records, arm, budget) for _ in range(2))
    assert examples_of(first) == examples_of(again)


# Answers ----------------------------------------------------------------------


def rng():
    return np.random.default_rng(5)


def test_answers_without_enough_credit_are_not_learned():
    credits = (0.05, 0.1, 0.2, None)
    turns = [turn(f"q{i} ?", "red", c) for i, c in enumerate(credits)]
    as_they_are = types.SimpleNamespace(**{**vars(CONFIG), "balance": False})
    games = [record(0, turns)]
    found = telling_answers(games, as_they_are, BENCH, rng())
    assert [question for _, question, _ in found] == ["q2 ?", "q3 ?"]


@pytest.mark.parametrize(
    "given, learned",
    [
        ({"yes": 30, "no": 7}, {"yes": 7, "no": 7}),
        ({"yes": 3, "no": 9}, {"yes": 3, "no": 3}),
        ({"yes": 8}, {}),
        ({"none": 9, "red": 4, "blue": 2}, {"none": 4, "red": 4, "blue": 2}),
    ],
)
def test_no_answer_outnumbers_the_runner_up_of_its_kind(given, learned):
    answers = [a for a, count in given.items() for _ in range(count)]
    games = [
        record(i, [turn("which ?", a), turn("other ?", f"{i % 2}")])
        for i, a in enumerate(answers)
    ]

    def counts(config):
        found = telling_answers(games, config, BENCH, rng())
        return collections.Counter(a for _, q, a in found if q == "which ?")

    assert counts(CONFIG) == learned
    as_they_are = types.SimpleNamespace(**{**vars(CONFIG), "balance": False})
    assert counts(as_they_are) == given


@pytest.mark.parametrize(
    ("balanced", "learned"),
    [
        (True, {"yes": range(17, 20), "no": range(17, 20)}),
        (False, {"yes": range(10, 20), "no": range(15, 20)}),
    ],
)
def test_of_an_answer_the_surest_are_learned(balanced, learned):
    """However much surer the Describer is of another answer."""
    counts = {"yes": 20, "no": 6} if balanced else {"yes": 20, "no": 10}
    games = [
        record(
            0,
            [
                dataclasses.replace(
                    turn(f"is it {place} ?", answer),
                    answer_logprob=place - (20.0 if answer == "yes" else 40.0),
                )
                for place in range(20 - count, 20)
            ],
        )
        for answer, count in counts.items()
    ]
    more = {"sure": 0.5, "balance": balanced}
    config = types.SimpleNamespace(**{**vars(CONFIG), **more})
    found: dict[str, set[int]] = {"yes": set(), "no": set()}
    for _, question, answer in telling_answers(games, config, BENCH, rng()):
        found[answer].add(int(question.split()[2]))
    assert found["yes"] == set(learned["yes"])
    assert found["no"] == set(learned["no"])
    figures = choose.select(games, "main", config, BENCH, SEED, None).figures[
        "filters"
    ]["sure (answers)"]
    assert figures["kept"] == sum(map(len, found.values()))
    assert figures["of"] == sum(counts.values())


# Examples ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer():
    words = [*prompt_words(PROMPTS, 4), *world.VOCABULARY]
    return word_tokenizer(words)


def learned_words(example, tokenizer):
    """[(weight, words)] of the stretches that carry loss, in order."""
    found = encode(example, tokenizer, tokens_per_image=4)
    stretches = []
    for token, weight in zip(found.tokens, found.weights, strict=True):
        if not stretches or stretches[-1][0] != weight:
            stretches.append((weight, []))
        stretches[-1][1].append(token)
    return [
        (pytest.approx(weight), tokenizer.hf.decode(tokens))
        for weight, tokens in stretches
        if weight
    ]


def test_the_guesser_learns_its_own_words_and_no_other(tokenizer):
    game = record(
        0, [turn("is there a ring ?", "no"), turn("is there a cross ?", "yes")]
    )
    example = choose.guesser_example(game, PROMPTS, RULES, False)
    assert learned_words(example, tokenizer) == [
        (0.3, "1 yes 2 yes . ask is there a ring ? <eos>"),
        (0.3, "1 yes 2 yes . ask is there a cross ? <eos>"),
        (1.0, "1 no 2 yes . guess 2 <eos>"),
    ]


def test_that_it_asked_is_not_learned_where_it_had_to(tokenizer):
    game = record(0, [turn("is there a ring ?", "no")] * 2)
    free, forced = (
        choose.guesser_example(game, PROMPTS, RULES, must_ask)
        for must_ask in (False, True)
    )
    asked = [
        (0.3, "1 yes 2 yes ."),
        (0.3, "is there a ring ? <eos>"),
    ]
    assert learned_words(forced, tokenizer) == [
        *asked,
        *asked,
        (1.0, "1 no 2 yes . guess 2 <eos>"),
    ]
    tokens = [encode(x, tokenizer, 4).tokens.tolist() for x in (free, forced)]
    assert tokens[0] == tokens[1]


@pytest.mark.parametrize(
    ("guess", "share", "learned"),
    [("spoken", 0.0, True), ("spoken", 1.0, False), ("likelihood", 0.0, False)],
)
def test_asking_is_learned_where_guessing_was_allowed(
    records, tokenizer, guess, share, learned
):
    config = types.SimpleNamespace(**{**vars(CONFIG), "asks_all": share})
    play = types.SimpleNamespace(play=GameSettings(turns=3, guess=guess))
    bench = types.SimpleNamespace(**{**vars(BENCH), "config": play})
    chosen = choose.select(records, "main", config, bench, SEED, None)
    words = [
        text
        for example in examples_of(chosen)["guesser"]
        for _, text in learned_words(example, tokenizer)
    ]
    assert any("is there a" in text for text in words)
    assert any("ask is there a" in text for text in words) == learned


def test_the_describer_learns_the_answer_and_hardly_its_end(tokenizer):
    answers = [
        (3, "is there a ring ?", "no"),
        (3, "where is the ring ?", "none"),
    ]
    (example,) = choose.describer_examples(answers, PROMPTS)
    assert example.images == (3,)
    assert learned_words(example, tokenizer) == [
        (1.0, "no"),
        (0.1, "<eos>"),
        (1.0, "none"),
        (0.1, "<eos>"),
    ]


def test_no_describer_example_sees_other_answers_or_more_than_four():
    answers = [(i % 2, f"q{i} ?", "yes") for i in range(11)]
    examples = choose.describer_examples(answers, PROMPTS)
    assert max(len(e.branches) for e in examples) == 4
    assert sum(len(e.branches) for e in examples) == len(answers)
    for example in examples:
        assert example.trunk[0].text == PROMPTS.describer_trunk()
        assert [p.weight for p in example.trunk] == [0.0]


@pytest.mark.parametrize("turns", [2, 3])
def test_only_the_last_turn_of_a_full_game_has_the_cue_to_guess(turns):
    game = record(0, [turn("is there a ring ?", "no")] * turns)
    example = choose.guesser_example(game, PROMPTS, RULES, False)
    text = " ".join(piece.text for piece in example.trunk)
    assert text.count(PROMPTS.last_cue) == (turns == RULES.turns)


@pytest.mark.parametrize(
    "share, count", [(0.0, 0), (0.3, 12), (0.5, 20), (1.0, 40)]
)
def test_games_that_ask_all_are_spread_evenly(share, count):
    asked = [choose.asks_all(game, share) for game in range(40)]
    assert sum(asked) == count
    halves = sum(asked[:20]), sum(asked[20:])
    assert halves == (count / 2, count / 2)
