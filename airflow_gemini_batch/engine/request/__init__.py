"""Rows become requests."""
