"""Shapes that a request fixes before any answer exists: what the columns of its answers are called, and their Arrow types."""
