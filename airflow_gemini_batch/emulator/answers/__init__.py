"""Synthetic answers: deterministic functions of the request, in the form of a model's answer."""
