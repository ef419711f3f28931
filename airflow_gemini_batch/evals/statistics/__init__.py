"""What the scores of two runs say about their difference: pure functions over numbers, which know no run and no table.

Needs SciPy (extra ``evals``) where a quantile or a p-value is computed. `docs/statistics.md` says which method is used when.
"""
