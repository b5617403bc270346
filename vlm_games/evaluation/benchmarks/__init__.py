"""Public benchmarks in their owners' files: what to ask and how to score.

One file each, on one runner. Nothing here imports JAX: files are scored
without a model.
"""
