"""What a source is, and the sources that are in memory already.

Every error while reading becomes an InputError that names the source, never an OSError, which the writing side would report as a
full disk.
"""

from __future__ import annotations

import collections
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

from airflow_gemini_batch.engine.arrow.layouts import plain_schema
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.source.blocks import blocks


class Source(ABC):
    """A table that can be read, in some cases more than once.

    :param schema: plain types: the value type of dictionaries, not the dictionary type.
    :param description: for people.
    """

    def __init__(self, schema: pa.Schema, description: str) -> None:
        twice = [name for name, count in collections.Counter(schema.names).items() if count > 1]
        if twice:
            raise InputError(
                f"{description} has more than one column called {', '.join(map(repr, twice))}. "
                "Rename or drop one: column names must be unique."
            )
        self.schema = plain_schema(schema)
        self.description = description

    @property
    def is_repeatable(self) -> bool:
        """Whether the table can be read more than once."""
        return True

    @abstractmethod
    def fingerprint(self) -> str | None:
        """Changes when the table does, and is the same for the same table; None where that cannot be determined."""

    @abstractmethod
    def _read(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Those columns in that order, in batches of any size and of any layout that casts to the schema."""

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Those columns in that order, in input order, in blocks that do not depend on how the rows are stored."""
        schema = pa.schema([self.schema.field(name) for name in columns])
        try:
            yield from blocks(self._read(columns), schema)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"Cannot read {self.description}: {type(error).__name__}: {error}") from error


class TableSource(Source):
    """A table in memory."""

    def __init__(self, table: pa.Table, kind: str) -> None:
        super().__init__(table.schema, f"{kind} of {table.num_rows} rows and {table.num_columns} columns")
        self._table = table

    def fingerprint(self) -> str:
        """Of the content, however it is chunked."""
        digest = hashlib.sha256(self.schema.serialize())
        for batch in self.batches(self._named()):
            digest.update(batch.serialize())
        return digest.hexdigest()

    def _named(self) -> list[str]:
        """The columns that can be read."""
        return list(self.schema.names)

    def _read(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        return iter(self._table.select(list(columns)).to_batches())


class StreamSource(Source):
    """Batches that can be read once."""

    def __init__(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch], kind: str) -> None:
        super().__init__(schema, kind)
        self._arrow_schema = schema
        self._batches: Iterator[pa.RecordBatch] | None = iter(batches)

    @property
    def is_repeatable(self) -> bool:
        return False

    def fingerprint(self) -> None:
        return None

    def _read(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        batches, self._batches = self._batches, None
        if batches is None:
            raise InputError(
                f"The source ({self.description}) has been read already and cannot be read twice. "
                "Give a new one, or a table or files."
            )
        for number, batch in enumerate(batches):
            if not isinstance(batch, pa.RecordBatch):
                raise InputError(
                    f"Item {number} of the source ({self.description}) is of type {type(batch).__name__}; "
                    "expected pyarrow.RecordBatch."
                )
            if not batch.schema.equals(self._arrow_schema):
                raise InputError(
                    f"Batch {number} of the source ({self.description}) has another schema than the first one: "
                    f"{_in_words(batch.schema)} instead of {_in_words(self._arrow_schema)}. Cast the batches to one schema."
                )
            yield batch.select(list(columns))


def _in_words(schema: pa.Schema) -> str:
    return "(" + ", ".join(f"{field.name} {field.type}" for field in schema) + ")"
