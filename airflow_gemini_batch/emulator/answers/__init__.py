"""Synthetic answers: deterministic functions of the request that have the shape of a model's, and none of its sense."""
