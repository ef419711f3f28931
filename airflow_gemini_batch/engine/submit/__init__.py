"""Shards become batch jobs."""
