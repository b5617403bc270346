"""What a run learned from, in the formats of other trainers, and back."""
