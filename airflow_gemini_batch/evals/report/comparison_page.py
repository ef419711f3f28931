"""The page of a comparison: what came out on its first screen, then how it is known, then answers to read side by side.

The summary page's two rules hold here too: every text of a row, a model or a file is cut, made harmless and escaped; and the page
never takes more than ``MOST_BYTES``. What does not fit is left out, which the page says.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.printable import printable
from airflow_gemini_batch.engine.report import words
from airflow_gemini_batch.engine.report.html_page import DETAILS, HtmlPage, first_that_fits
from airflow_gemini_batch.engine.run import storage
from airflow_gemini_batch.engine.run.storage import Location
from airflow_gemini_batch.evals.comparison import Comparison
from airflow_gemini_batch.evals.report.view import page_view

log = logging.getLogger(__name__)

#: Its name in the folder of a comparison.
FILE = "report.html"

#: A page that opens at once on a phone, and that a mail takes.
MOST_BYTES = 500_000

_PAGE = HtmlPage("comparison.html", "comparison.css", words.FILTERS, Path(__file__).parent / "templates")


def comparison_page(comparison: Comparison) -> str:
    """The comparison as one HTML page, complete in itself: no script, no request, at most 500 kB."""
    return first_that_fits((_PAGE.draw(view=page_view(comparison, detail)) for detail in DETAILS), MOST_BYTES).decode()


def write_report(
    comparison: Comparison,
    path: str | os.PathLike[str] | None = None,
    *,
    storage_options: Mapping[str, Any] | None = None,
    locate: Callable[[str], Location] | None = None,
) -> str:
    """Write the page of a comparison into a file; ``compare`` has done so already.

    :param path: of the file, local or a URI. Default: ``report.html`` beside the comparison's ``comparison.json``.
    :param storage_options: for the file system, when ``locate`` is not given.

    Returns the URI of the file. Raises InputError for a comparison that was never written, and what the storage does.
    """
    if path is None and not comparison.uri:
        raise InputError("The comparison was not written to a folder; give path, for example 'report.html'.")
    find: Callable[[str], Location] = locate or functools.partial(storage.locate, **(storage_options or {}))
    place = find(comparison.uri) / FILE if path is None else find(os.fspath(path))
    place.write(comparison_page(comparison).encode())
    return place.uri


def draw_report(comparison: Comparison, folder: Location) -> None:
    """Write the page into the comparison's folder, if it can be drawn: whatever goes wrong with it, the comparison is made."""
    place = folder / FILE
    try:
        place.write(comparison_page(comparison).encode())
    except Exception as error:
        log.warning(
            "%s was not drawn (%s: %s). The comparison is complete without it; write_report draws it.",
            place,
            type(error).__name__,
            printable(str(error)),
        )
        log.debug("Why the page was not drawn:", exc_info=True)
