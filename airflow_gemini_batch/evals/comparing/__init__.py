"""How two finished runs become a ``Comparison``: read, brought together by key on disk, tallied, and written."""
