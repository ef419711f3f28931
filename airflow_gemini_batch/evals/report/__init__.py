"""``report.html``: a comparison on one page, for people. It reads the document (``evals.comparison``) and no tables."""
