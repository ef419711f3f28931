"""``summary.html``: a finished run on one page, to be sent to somebody or looked at in a year.

The page is complete in itself: no script, no request, one style sheet that the content policy names by its hash. It says what the
run was, what came out, how long it took, what it cost, and which rows have no result and why.

Two rules must not be relaxed. Every text of a row, a model or the service is cut and made harmless before it goes into the page,
and escaped there. And the page never takes more than ``MOST_BYTES``, whatever the run is: what does not fit is left out, which
the page says.
"""

from __future__ import annotations

from airflow_gemini_batch.engine.errors import DestinationError
from airflow_gemini_batch.engine.finish.summary import Summary, summary_of
from airflow_gemini_batch.engine.report import words
from airflow_gemini_batch.engine.report.html_page import DETAILS, HtmlPage, first_that_fits
from airflow_gemini_batch.engine.report.summary_view import read_summary_view
from airflow_gemini_batch.engine.run.layout import Manifest, Run

#: A page that opens at once on a phone, and that a mail takes.
MOST_BYTES = 300_000

_PAGE = HtmlPage("summary.html", "summary.css", words.FILTERS)


def write_summary_page(run: Run, manifest: Manifest, summary: Summary) -> int:
    """Draw the page of a run whose tables are complete, and put it beside ``summary.json``.

    Returns its size in bytes. Raises what the storage does.
    """
    content = draw_summary_page(run, manifest, summary)
    run.summary_page.write(content)
    return len(content)


def redraw_summary_page(run: Run) -> int:
    """Draw the page of a finished run again.

    Returns its size in bytes. Raises DestinationError for a run that is not finished, CorruptRunError for a manifest that cannot
    be read, and what the storage does.
    """
    manifest, summary = run.built(), summary_of(run)
    if summary is None:
        raise DestinationError(
            f"{run.destination} is not finished: {run.summary_file} is absent. Its page is drawn when it is; "
            f"until then, see gemini-batch status {run.destination}."
        )
    return write_summary_page(run, manifest, summary)


def draw_summary_page(run: Run, manifest: Manifest, summary: Summary) -> bytes:
    """The page, at most ``MOST_BYTES`` long."""
    view = read_summary_view(run, manifest, summary)
    return first_that_fits((_PAGE.draw(view=view._replace(detail=detail)) for detail in DETAILS), MOST_BYTES)
