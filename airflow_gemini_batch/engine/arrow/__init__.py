"""Columns and texts from Arrow arrays."""
