"""A source becomes blocks of rows: files of each format, tables in memory. ``sources`` is the door."""
