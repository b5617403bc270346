"""Batched, jitted generation over kept caches. Knows no game."""
