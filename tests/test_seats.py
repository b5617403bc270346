"""Opposite a person the model says what it says when it plays alone."""

import jax
import pytest

from vlm_games.games.play import Role, Table
from vlm_games.games.prompts import Prompts
from vlm_games.games.protocol import GameSettings, GameSpec
from vlm_games.games.seats import Opposite
from vlm_games.models.mesh import make_mesh, place
from vlm_games.sampling.engine import Engine
from vlm_games.worlds.splits import load_split

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_compiles")]

# The Describer sees the dialog, which is the harder case; nothing is drawn.
RULES = GameSettings(
    turns=2,
    guesser_temperature=0.0,
    describer_temperature=0.0,
    guesser_tokens=28,
    remember=True,
    slots=1,
)


def test_a_person_who_says_the_same_gets_the_same_game(base):
    config, params, tokenizer = base
    mesh = make_mesh(jax.devices()[:1])
    engine, params = Engine(config, mesh), place(mesh, params)
    pixels = load_split("source/validation", 4)[1]
    role = Role(params, engine.encode(params, pixels, chunk=4))
    seats = (engine, tokenizer, Prompts(), RULES)
    spec = GameSpec(0, (0, 1, 2, 3), 2)
    (game,) = Table(*seats, 4).play(role, role, [spec], (0,))
    assert len(game.exchanges) == RULES.turns and game.reason is None
    opposite = Opposite(*seats, role, 4, (0,))
    for turn, said in enumerate(game.exchanges):
        before = game.exchanges[:turn]
        move = opposite.ask(before)
        assert (move.question, move.summary) == (said.question, said.summary)
        assert opposite.answer(before, said.question, 2).text == said.answer
    move = opposite.ask(game.exchanges)
    assert (move.guess, move.summary) == (game.guess, game.final_summary)
