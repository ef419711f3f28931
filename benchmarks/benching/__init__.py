"""What `make bench` measures: each work, as the official samples, DuckDB, polars and a run do it."""
