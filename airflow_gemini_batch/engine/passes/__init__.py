"""The parts of a pass: what ``advance`` does with each shard."""
