"""The answers of the runs that ``reuse`` names, opened for one build or estimate."""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from airflow_gemini_batch.engine.build.chosen_runs import choose_runs
from airflow_gemini_batch.engine.build.earlier_runs import EarlierRun, Needs, find_earlier_runs
from airflow_gemini_batch.engine.build.reuse import Answers
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.request.encoding import RequestEncoder
from airflow_gemini_batch.engine.run.layout import Run
from airflow_gemini_batch.engine.run.storage import Location
from airflow_gemini_batch.engine.shapes.extra_fields import extra_fields

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FoundRuns:
    """The runs that can serve; their indexes lie on this disk."""

    asked: Sequence[str]
    max_age: dt.timedelta | None
    runs: Sequence[EarlierRun]

    @contextlib.contextmanager
    def answers(self, run: Run | None, repeats: int = 1) -> Iterator[Answers | None]:
        """None where ``reuse`` names nothing.

        :param run: the run that is built, which remembers its choice; None for an estimate, which writes nothing.
        :param repeats: how many answers to one request are taken.
        """
        if not self.asked:
            yield None
            return
        if run is not None:
            runs, not_before = choose_runs(run, self.runs, asked=self.asked, max_age=self.max_age)
        else:
            runs = list(self.runs)
            not_before = None if self.max_age is None else dt.datetime.now(dt.timezone.utc) - self.max_age
        with Answers(runs, not_before=not_before, repeats=repeats) as answers:
            yield answers


@contextlib.contextmanager
def found_runs(
    reuse: Sequence[str],
    model: str,
    encoder: RequestEncoder,
    options: BatchOptions,
    open_uri: Callable[[str], Location],
    *,
    own: Run | None,
) -> Iterator[FoundRuns]:
    """The runs below the URIs of ``reuse``, with their indexes in a temporary folder.

    :param own: the run that is built, which does not serve itself; None where none is.
    """
    if not reuse:
        yield FoundRuns((), None, ())
        return
    if model.endswith("-latest"):
        log.warning("%s is an alias: earlier runs may have been answered by another model than it names today.", model)
    needs = Needs(own, model, extra_fields(encoder.spec, media_as_files=options.media_to == "files"), options.keep_response)
    with tempfile.TemporaryDirectory(prefix="gemini-batch-indexes-") as scratch:
        yield FoundRuns(reuse, options.reuse_max_age, find_earlier_runs(reuse, needs, open_uri, Path(scratch)))
