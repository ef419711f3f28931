"""Comparisons that were written, read back."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from typing import Any

from airflow_gemini_batch.engine.errors import DestinationError
from airflow_gemini_batch.engine.run import storage
from airflow_gemini_batch.engine.run.layout import read_json
from airflow_gemini_batch.engine.run.storage import Location
from airflow_gemini_batch.evals.comparison import Comparison


def load_comparison(
    uri: str | os.PathLike[str],
    name: str = "default",
    *,
    storage_options: Mapping[str, Any] | None = None,
    locate: Callable[[str], Location] | None = None,
) -> Comparison:
    """What ``compare`` has written.

    :param uri: of the candidate's destination, of the ``output`` folder, or of ``comparison.json`` itself.
    :param name: of the comparison, below a destination.
    :param storage_options: for the file system, when ``locate`` is not given.

    Raises DestinationError when nothing is there, CorruptRunError when it cannot be read.
    """
    find: Callable[[str], Location] = locate or functools.partial(storage.locate, **(storage_options or {}))
    place = find(os.fspath(uri))
    files = [place] if place.name.endswith(".json") else []
    files = files or [place / "comparison.json", place / "comparisons" / name / "comparison.json"]
    for file in files:
        if (found := read_json(file, Comparison)) is not None:
            return found
    raise DestinationError(f"{place} holds no comparison: {files[-1]} is absent. Call compare first.")


def comparisons_below(destination: Location) -> list[str]:
    """Names of the comparisons whose first candidate is the run at this destination; complete ones and others."""
    return [folder.name for folder in (destination / "comparisons").children() if not folder.name.startswith((".", "_"))]
