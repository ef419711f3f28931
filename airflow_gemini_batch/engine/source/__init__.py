"""Source tables of every format as blocks of rows."""
