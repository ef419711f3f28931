"""OpenLineage: which tables a task reads and writes, with row counts and columns.

Without Airflow's OpenLineage provider nobody calls this, so its modules are imported here only when they are. The provider logs
what goes wrong in it as a warning, and the task is not affected.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from airflow_gemini_batch.engine.run.layout import Run, Table
    from airflow_gemini_batch.operators.base import GeminiOperator as _Operator
else:
    # Airflow's metaclass gives each operator class an __init__, which would hide those of the classes behind a mixin.
    _Operator = object


class HasLineage(_Operator):
    """Mixin for an operator with a ``destination``, and perhaps a ``source``."""

    def get_openlineage_facets_on_start(self) -> Any:
        """The tables, as an ``OperatorLineage``; Airflow asks again after each deferral."""
        return self._lineage(finished=False)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        return self._lineage(finished=True)

    def get_openlineage_facets_on_failure(self, task_instance: Any) -> Any:
        return self._lineage(finished=True)

    def _lineage(self, *, finished: bool) -> Any:
        from airflow.providers.common.compat.openlineage.facet import Dataset
        from airflow.providers.openlineage.extractors import OperatorLineage  # type: ignore[import-not-found,unused-ignore]

        run = self.run_here
        inputs = [Dataset(*dataset_name(uri)) for uri in source_uris(getattr(self, "source", None))]
        counts = _counts(run) if finished else {}
        return OperatorLineage(inputs=inputs, outputs=[_output(run, table, counts) for table in ("results", "dead_letter")])


def _counts(run: Run) -> Mapping[str, int]:
    """Rows of each table of a finished run; nothing for one that is not."""
    from airflow_gemini_batch.engine.finish.summary import summary_of

    summary = summary_of(run)
    return {} if summary is None else {"results": summary.results, "dead_letter": summary.dead_letter}


def _output(run: Run, table: Table, counts: Mapping[str, int]) -> Any:
    from airflow.providers.common.compat.openlineage import facet
    from pyarrow import parquet

    facets: dict[str, Any] = {}
    parts = [part for part in (run.destination / table).children() if part.name.endswith(".parquet")] if counts else []
    if parts:
        with parts[0].open() as file:
            schema = parquet.read_schema(file)
        fields = [facet.SchemaDatasetFacetFields(name=field.name, type=str(field.type)) for field in schema]
        facets["schema"] = facet.SchemaDatasetFacet(fields=fields)
    if table in counts:
        statistics = facet.OutputStatisticsOutputDatasetFacet(rowCount=counts[table], fileCount=len(parts))
        namespace, name = dataset_name(f"{run.destination}/{table}")
        return facet.OutputDataset(namespace, name, facets=facets, outputFacets={"outputStatistics": statistics})
    return facet.Dataset(*dataset_name(f"{run.destination}/{table}"), facets=facets)


def source_uris(source: Any) -> Iterator[str]:
    """The URIs of a source; nothing for a table in memory."""
    for one in source if isinstance(source, (list, tuple)) else [source]:
        if isinstance(one, (str, os.PathLike)):
            yield os.fspath(one)


def dataset_name(uri: str) -> tuple[str, str]:
    """Namespace and name by OpenLineage's rules: ``s3://bucket`` and the key, or ``file`` and an absolute path."""
    parts = urlsplit(uri)
    if parts.scheme in ("", "file"):
        return "file", os.path.abspath(parts.path if parts.scheme else uri)
    # A connection may stand before the bucket (s3://conn_id@bucket/key); it says nothing about the data.
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", parts.path.lstrip("/")
