"""Rows become shards: the request files and the manifest of a run."""
