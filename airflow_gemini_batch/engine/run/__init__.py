"""A run on disk: its layout, its ledger and its tables."""
