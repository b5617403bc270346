"""A local page over a run, finished or under way."""
