"""The carried columns of a run: their types in the tables, decided once, and their values in these types."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import pyarrow as pa

from airflow_gemini_batch.engine.arrow.carried import CannotCarryError, carried, carried_type, loses_digits
from airflow_gemini_batch.engine.arrow.columns import from_numpy
from airflow_gemini_batch.engine.arrow.names import require_columns
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.run.layout import Run, Shard
from airflow_gemini_batch.engine.run.repeats import REPEAT
from airflow_gemini_batch.engine.run.shard_inputs import opened
from airflow_gemini_batch.engine.source.open import Source


class Carry:
    """Turns rows of the source into carried columns.

    Whether times need their nanoseconds depends on all rows. A source that can be read again is asked first. For the others the
    inputs files keep nanoseconds, and ``finish`` writes them again without when no row needed them.

    :param names: checked columns of the source.
    :param repeats: how often each row is sent; above 1 the number of the repeat is the first carried column.
    :param in_microseconds: the columns that do not need their nanoseconds, where all rows of the table have been asked already,
        of which the source is a part.
    """

    def __init__(
        self, source: Source, names: Sequence[str], repeats: int = 1, in_microseconds: Sequence[str] | None = None
    ) -> None:
        self.names, self.repeats = tuple(names), repeats
        self._own = [] if repeats == 1 else [REPEAT]
        self._fields = [source.schema.field(name) for name in names]
        self._narrow = pa.schema([_table_field(field, nanoseconds=False) for field in self._fields])
        self._wide = pa.schema([_table_field(field, nanoseconds=True) for field in self._fields])
        self._undecided = [name for name in names if self._narrow.field(name) != self._wide.field(name)]
        if in_microseconds is not None:
            self._undecided = list(in_microseconds)
            self._schema = self._decided()
        elif self._undecided and source.is_repeatable:
            for batch in source.batches(self._undecided):
                self._watch(batch)
            self._schema = self._decided()
        else:
            self._schema = self._wide

    @property
    def schema(self) -> pa.Schema:
        """As the inputs files have it until ``finish``."""
        return pa.schema([*self._own, *self._schema])

    @property
    def in_microseconds(self) -> tuple[str, ...]:
        """The columns with nanoseconds that no row seen so far has needed."""
        return tuple(self._undecided)

    def batch(self, block: pa.RecordBatch) -> pa.RecordBatch | None:
        """The carried columns of these rows, without their repeats; None when there are none. Raises InputError for a value that
        their types cannot hold."""
        if not self._fields:
            return None
        if self._schema == self._wide:
            self._watch(block)
        columns = [_column(block.column(field.name), field) for field in self._schema]
        return pa.RecordBatch.from_arrays(columns, schema=self._schema)

    def repeated(self, carried: pa.RecordBatch | None, of_row: Any, repeat: Any) -> pa.RecordBatch:
        """The carried columns of a piece of ``repeats.places_of``."""
        rows = [] if carried is None else carried.take(from_numpy(of_row)).columns
        return pa.RecordBatch.from_arrays([from_numpy(repeat), *rows], schema=self.schema)

    def finish(self, run: Run, shards: Sequence[Shard]) -> None:
        """Write the inputs files again when all rows have been read and their nanoseconds are not needed."""
        decided = self.decided()
        if decided == self.schema:
            return
        for shard in shards:
            file = run.inputs_file(shard.id)
            with opened(file) as inputs:
                own = [inputs.schema.field(place) for place in range(len(inputs.schema) - len(decided))]
                schema = pa.schema([*own, *decided])
                with file.writing() as out, pa.ipc.new_file(out, schema) as writer:
                    for number in range(inputs.num_record_batches):
                        batch = inputs.get_batch(number)
                        columns = [_column(batch.column(place), field) for place, field in enumerate(schema)]
                        writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))

    def _watch(self, batch: pa.RecordBatch) -> None:
        """Forget the columns that need their nanoseconds."""
        self._undecided = [
            name for name in self._undecided if not loses_digits(batch.column(name), self._narrow.field(name).type)
        ]

    def as_decided(self, columns: Sequence[pa.Array]) -> list[pa.Array]:
        """Columns that ``batch`` has made, in the types that were decided once all rows had been seen."""
        return [_column(column, field) for column, field in zip(columns, self.decided(), strict=True)]

    def decided(self) -> pa.Schema:
        """The types for the tables, as the rows seen so far require them."""
        return pa.schema([*self._own, *self._decided()])

    def _decided(self) -> pa.Schema:
        return pa.schema(
            [(self._narrow if field.name in self._undecided else self._wide).field(field.name) for field in self._fields]
        )


def carried_names(schema: pa.Schema, *, key: str | None, carry: Sequence[str], taken: Collection[str]) -> list[str]:
    """The columns to carry. Raises InputError when one is missing or would collide in the tables.

    :param taken: the names of the tables' own columns.
    """
    if isinstance(carry, str) or not all(isinstance(name, str) for name in carry):
        raise InputError(f"carry is {carry!r}; expected a list of column names.")
    require_columns(carry, schema, by="carry")
    if key == "key":
        carry = [name for name in carry if name != "key"]  # the tables have it in their own column of that name
    twice = sorted({name for name in carry if list(carry).count(name) > 1})
    if twice:
        raise InputError(f"carry names {', '.join(map(repr, twice))} more than once.")
    colliding = [name for name in carry if name in taken]
    if colliding:
        raise InputError(
            f"carry names {', '.join(map(repr, colliding))}, which results or dead_letter have as a column of their own. "
            "Rename the column in the source, or leave it out and join it by key afterwards."
        )
    return list(carry)


def _table_field(field: pa.Field, *, nanoseconds: bool) -> pa.Field:
    try:
        return pa.field(field.name, carried_type(field, nanoseconds=nanoseconds))
    except CannotCarryError as error:
        raise _refused(field, error) from error


def _column(column: pa.Array, field: pa.Field) -> pa.Array:
    try:
        return carried(column, field.type)
    except CannotCarryError as error:
        raise _refused(pa.field(field.name, column.type), error) from error


def _refused(field: pa.Field, error: CannotCarryError) -> InputError:
    return InputError(
        f"carry names the column {field.name!r}, which {error} (type {field.type}). "
        "Cast it to another type, for example to text, or leave it out of carry."
    )
