"""Game success, question answering, forgetting. Knows no training."""
