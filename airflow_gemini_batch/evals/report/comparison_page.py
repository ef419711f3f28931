"""The page of a comparison: what came out on its first screen, then how it is known, then answers to read side by side.

The summary page's two rules hold here too: every text of a row, a model or a file is cut, made harmless and escaped; and the page
never takes more than ``MOST_BYTES``. What does not fit is left out, which the page says.
"""

from __future__ import annotations

import os
from pathlib import Path

from airflow_gemini_batch.engine.report import words
from airflow_gemini_batch.engine.report.html_page import DETAILS, HtmlPage, first_that_fits
from airflow_gemini_batch.engine.run.storage import Location, locate
from airflow_gemini_batch.evals.comparison import Comparison
from airflow_gemini_batch.evals.report.view import page_view

#: A page that opens at once on a phone, and that a mail takes.
MOST_BYTES = 500_000

_PAGE = HtmlPage("comparison.html", "comparison.css", words.FILTERS, Path(__file__).parent / "templates")


def comparison_page(comparison: Comparison) -> str:
    """The comparison as one HTML page, complete in itself: no script, no request, at most 500 kB."""
    return first_that_fits((_PAGE.draw(view=page_view(comparison, detail)) for detail in DETAILS), MOST_BYTES).decode()


def write_report(comparison: Comparison, path: str | os.PathLike[str] | Location) -> None:
    """Write the page of a comparison into a file.

    :param path: a local path, a URI that fsspec opens, or a location.

    Raises what the storage does.
    """
    place = path if isinstance(path, Location) else locate(path)
    place.write(comparison_page(comparison).encode())
