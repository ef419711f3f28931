"""Redrives, the balance check and the summary."""
