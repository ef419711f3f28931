"""A row becomes a request: texts with placeholders, configs, media. ``encoding`` is the door."""
