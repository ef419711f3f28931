"""What a person wants to know of a run: where it stands, and what came out. Reads a run, and draws ``summary.html``."""
