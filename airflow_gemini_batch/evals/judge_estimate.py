"""What a judge would cost, before it is asked."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from airflow_gemini_batch.engine.build.call import uris_of
from airflow_gemini_batch.engine.estimate.estimating import estimate_run
from airflow_gemini_batch.engine.estimate.result import Estimate
from airflow_gemini_batch.engine.gemini.client import Endpoint
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.run import storage
from airflow_gemini_batch.engine.run.storage import Location
from airflow_gemini_batch.evals.judge import Judge
from airflow_gemini_batch.evals.judge_runs import How, spec_of
from airflow_gemini_batch.evals.judging import Judges
from airflow_gemini_batch.evals.labels import Labels
from airflow_gemini_batch.evals.pairwise import PairwiseJudge
from airflow_gemini_batch.evals.runs import FinishedRun
from airflow_gemini_batch.evals.scorers import as_scorers
from airflow_gemini_batch.evals.scores import scores_folder
from airflow_gemini_batch.evals.scoring import columns_of, label_columns


def estimate_judge(
    run: Any,
    judge: Judge | PairwiseJudge,
    *,
    labels: Any = None,
    label_key: str = "key",
    reuse: str | Sequence[str] | None = None,
    count_tokens: int | None = None,
    options: BatchOptions | Mapping[str, Any] | None = None,
    endpoint: Endpoint | None = None,
    storage_options: Mapping[str, Any] | None = None,
    locate: Callable[[str], Location] | None = None,
) -> Estimate:
    """Say what ``score(run, judge)`` would ask and cost. Nothing is asked, and nothing is written but to the local disk.

    Verdicts that there are already, of this run's scores or of ``reuse``, cost nothing and are left out.

    :param run, labels, label_key, reuse, storage_options: as for ``score``.
    :param count_tokens, options, endpoint: as for ``estimate``.

    Raises InputError for a column that neither the run nor the labels have, DestinationError when the run is not finished.
    """
    find = locate or functools.partial(storage.locate, **(storage_options or {}))
    opened, scorers = FinishedRun.open(run, find), as_scorers(judge)
    chosen = BatchOptions.of(options)
    with contextlib.ExitStack() as stack:
        table = None if labels is None else stack.enter_context(Labels(labels, label_key, find, label_columns(scorers)))
        columns_of(scorers, opened.schema(), table)
        judges = stack.enter_context(Judges(opened, scorers, table, find))
        (question,) = judges.questions(scores_folder(opened.run, "default"))
        how = How(chosen, endpoint, uris_of(reuse), locate=find)
        return estimate_run(spec_of(opened, question, how), chosen, count_tokens=count_tokens, endpoint=endpoint)
