"""Output is downloaded and written to the two tables."""
