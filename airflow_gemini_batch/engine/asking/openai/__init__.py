"""OpenAI bodies become requests; what has no counterpart is refused by name. ``encoding`` is the door."""
