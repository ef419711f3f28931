"""Batch jobs: creating them, their states over time, and writing their output."""
