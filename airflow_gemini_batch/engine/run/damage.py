"""Whether the tables of a finished run are still those that its summary counts."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from airflow_gemini_batch.engine.run.layout import TABLES, PartName, Run
from airflow_gemini_batch.engine.run.many_files import files_at_once
from airflow_gemini_batch.engine.run.storage import Location


def find_damage(run: Run, *, results: int, dead_letter: int) -> str | None:
    """Why the tables are not what was written, as a sentence; None when names and row counts agree.

    Only names and Parquet footers are read: the content was compared key by key when the run was finished.

    :param results, dead_letter: the rows that the summary counts.
    """
    tables: dict[str, dict[PartName, Location]] = {}
    for table in TABLES:
        parts: dict[PartName, Location] = {}
        for file in (run.destination / table).children():
            if file.name.startswith(("_", ".")):
                continue
            if (part := PartName.of(file.name)) is None:
                return f"{file} is not a part of this run."
            parts[part] = file
        tables[table] = parts
    lone = [part for part in tables["results"].keys() ^ tables["dead_letter"].keys() if not part.kind]
    if lone:
        part = min(lone)
        absent = "results" if part in tables["dead_letter"] else "dead_letter"
        return f"{run.destination / absent}/{part} is absent."
    for table, counted in (("results", results), ("dead_letter", dead_letter)):
        files = list(tables[table].values())
        rows = list(files_at_once(run.destination, files, row_count))
        torn = [file for file, count in zip(files, rows, strict=True) if count is None]
        if torn:
            return f"{torn[0]} is torn."
        found = sum(filter(None, rows))
        if found != counted:
            return f"{run.destination / table} holds {found} rows, the summary counts {counted}."
    return None


def row_count(file: Location) -> int | None:
    """By the footer; None when there is no whole one."""
    try:
        with file.open() as content:
            count: int = pq.read_metadata(content).num_rows
    except (FileNotFoundError, pa.ArrowInvalid):
        return None
    except OSError as error:
        if error.errno is not None:  # an error of the storage says nothing about the file
            raise
        return None
    return count
