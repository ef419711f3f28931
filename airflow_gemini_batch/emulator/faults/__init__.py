"""Fault rules: what can be made to fail, and which rules are active."""
