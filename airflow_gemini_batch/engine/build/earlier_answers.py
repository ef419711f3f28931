"""The answers of the runs that ``reuse`` names, opened for one build or estimate."""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from airflow_gemini_batch.engine.build.earlier_runs import Needs, find_earlier_runs
from airflow_gemini_batch.engine.build.reuse import Answers
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.request.encoding import RequestEncoder
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.storage import Location
from airflow_gemini_batch.engine.shapes.extra_fields import extra_fields

log = logging.getLogger(__name__)


@contextlib.contextmanager
def earlier_answers(
    reuse: Sequence[str],
    model: str,
    encoder: RequestEncoder,
    options: BatchOptions,
    open_uri: Callable[[str], Location],
    *,
    own: Run | None,
) -> Iterator[Answers | None]:
    """None where nothing is named.

    :param own: the run that is built, which does not serve itself; None where none is.
    """
    if not reuse:
        yield None
        return
    if model.endswith("-latest"):
        log.warning("%s is an alias: earlier runs may have been answered by another model than it names today.", model)
    needs = Needs(own, model, extra_fields(encoder.spec, media_as_files=options.media_to == "files"), options.keep_response)
    with tempfile.TemporaryDirectory(prefix="gemini-batch-indexes-") as scratch:
        runs = find_earlier_runs(reuse, needs, open_uri, Path(scratch))
        age = options.reuse_max_age
        with Answers(runs, not_before=None if age is None else dt.datetime.now(dt.timezone.utc) - age) as answers:
            yield answers
