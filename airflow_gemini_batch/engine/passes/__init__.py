"""The two halves of a pass: what ``advance`` does with the shards."""
