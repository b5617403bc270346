"""Where images come from, and the records of games on disk."""
