"""Public checkpoints: what they are, where their weights lie, how they read."""
