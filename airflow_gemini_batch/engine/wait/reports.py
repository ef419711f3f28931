"""Who is told how far a run is: the log, or a person who looks at a terminal or a notebook."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from airflow_gemini_batch.engine.gemini.jobs import Job
from airflow_gemini_batch.engine.wait.progress import Progress, Standing, in_words

if TYPE_CHECKING:
    from rich.console import Console

log = logging.getLogger(__name__)


class Report(Protocol):
    """Called after each check of the jobs."""

    def __call__(self, jobs: Sequence[Job], standing: Standing, *, now: float) -> None:
        """
        :param now: seconds since the epoch.
        """


class LogReport:
    """Writes a line at INFO when there is something to say (see ``progress``)."""

    def __init__(self) -> None:
        self._progress = Progress()

    def __call__(self, jobs: Sequence[Job], standing: Standing, *, now: float) -> None:
        for line in self._progress.lines(jobs, standing, now=now):
            log.info("%s", line)


@contextlib.contextmanager
def report_to(progress: bool | None) -> Iterator[Report]:
    """The report of a run in this process, while it goes on.

    :param progress: True: a progress bar on stderr, or in the notebook. False: lines in the log. None: a bar where somebody can
        see it.
    """
    console = shared_console()
    if progress is False or (progress is None and not shows_bar(console)):
        yield LogReport()
        return
    with bar_on(console) as report:
        yield report


@functools.cache
def shared_console() -> Console:
    """What the bar is drawn on. Lines that are written while it is shown must go through it, or they tear it."""
    from rich.console import Console

    return Console(stderr=True)


def shows_bar(console: Console) -> bool:
    """A terminal, or a notebook: there rich draws with ipywidgets, and without it only warns."""
    return importlib.util.find_spec("ipywidgets") is not None if console.is_jupyter else console.is_terminal


@contextlib.contextmanager
def bar_on(console: Console) -> Iterator[Report]:
    """A bar that is drawn until the run has ended."""
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    # markup=False: the words are plain text.
    with Bar(BarColumn(bar_width=24), TextColumn("{task.description}", markup=False), console=console) as bar:
        shown = bar.add_task("starting", total=None)
        progress = Progress()

        def report(jobs: Sequence[Job], standing: Standing, *, now: float) -> None:
            reading = standing.with_jobs(jobs)
            progress.lines(jobs, standing, now=now)  # which keeps the marks that the rate is taken from
            words = in_words(reading, rate=progress.rate(reading, now))
            bar.update(shown, completed=reading.done, total=reading.requests or None, description=words)

        yield report
