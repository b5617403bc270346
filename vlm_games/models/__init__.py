"""The vision-language model: pure functions of params. Knows no game."""
