"""What a person wants to know of a run: where it stands, and what came out. Reads only; what it draws goes to ``summary.html``."""
