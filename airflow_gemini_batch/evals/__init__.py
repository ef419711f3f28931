"""Evaluation of finished runs: scores of one run, the comparison of two, and the gate between them.

Public, like the names at the root. It reads the tables of runs and imports nothing of Airflow; nor does importing it load Arrow
or SciPy, so that a DAG file may name its scorers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_gemini_batch.evals.comparing.compare import compare
    from airflow_gemini_batch.evals.comparing.reading import load_comparison
    from airflow_gemini_batch.evals.comparison import Comparison, ScorerComparison
    from airflow_gemini_batch.evals.judge import Judge
    from airflow_gemini_batch.evals.judge_estimate import estimate_judge
    from airflow_gemini_batch.evals.matching import Contains, ExactMatch, JsonMatch, NumericClose, Regex
    from airflow_gemini_batch.evals.pairwise import PairwiseJudge
    from airflow_gemini_batch.evals.repeats import majority, pass_at_k, pass_k
    from airflow_gemini_batch.evals.report.comparison_page import write_report
    from airflow_gemini_batch.evals.scorers import Scorer
    from airflow_gemini_batch.evals.scores import ScorerTotals, Scores
    from airflow_gemini_batch.evals.scoring import score
    from airflow_gemini_batch.evals.statistics.agreement import Agreement, agreement
    from airflow_gemini_batch.evals.statistics.planning import rows_needed
    from airflow_gemini_batch.evals.statistics.win_rate import WinRate, win_rate

__all__ = [
    "Agreement",
    "Comparison",
    "Contains",
    "ExactMatch",
    "JsonMatch",
    "Judge",
    "NumericClose",
    "PairwiseJudge",
    "Regex",
    "Scorer",
    "ScorerComparison",
    "ScorerTotals",
    "Scores",
    "WinRate",
    "agreement",
    "compare",
    "estimate_judge",
    "load_comparison",
    "majority",
    "pass_at_k",
    "pass_k",
    "rows_needed",
    "score",
    "win_rate",
    "write_report",
]

#: Public name -> the module that defines it.
_HOMES = {
    "Agreement": "statistics.agreement",
    "Comparison": "comparison",
    "Contains": "matching",
    "ExactMatch": "matching",
    "JsonMatch": "matching",
    "Judge": "judge",
    "NumericClose": "matching",
    "PairwiseJudge": "pairwise",
    "Regex": "matching",
    "Scorer": "scorers",
    "ScorerComparison": "comparison",
    "ScorerTotals": "scores",
    "Scores": "scores",
    "WinRate": "statistics.win_rate",
    "agreement": "statistics.agreement",
    "compare": "comparing.compare",
    "estimate_judge": "judge_estimate",
    "load_comparison": "comparing.reading",
    "majority": "repeats",
    "pass_at_k": "repeats",
    "pass_k": "repeats",
    "rows_needed": "statistics.planning",
    "score": "scoring",
    "win_rate": "statistics.win_rate",
    "write_report": "report.comparison_page",
}

if not TYPE_CHECKING:  # otherwise a type checker would accept any misspelt name as Any

    def __getattr__(name: str) -> Any:
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
