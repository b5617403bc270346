"""A method of self-improvement: candidates, filter, examples."""
