"""Examples to packed batches, losses, the Optax step. Knows no game."""
