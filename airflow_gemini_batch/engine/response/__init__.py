"""Output lines become typed answers."""
