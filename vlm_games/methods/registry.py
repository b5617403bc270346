"""The methods by the names that `config.method` takes."""

from vlm_games.methods.dialog_games import DialogGames
from vlm_games.methods.stic import Stic
from vlm_games.methods.text import TextOnly
from vlm_games.methods.triangle import Triangle

METHODS = {
    "dialog_games": DialogGames,
    "stic": Stic,
    "triangle": Triangle,
    "text": TextOnly,
}
