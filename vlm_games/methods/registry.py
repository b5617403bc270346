"""The methods by the names that `config.method` takes."""

from vlm_games.methods.dialog_games import DialogGames

METHODS = {"dialog_games": DialogGames}
