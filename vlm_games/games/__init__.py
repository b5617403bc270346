"""Image sets, protocol and prompts, batched play, filters."""
