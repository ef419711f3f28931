"""Files as a source: Parquet, CSV and JSON Lines, one or many, on any file system.

The files are read one after the other in the order of their names, as one table: columns that a file lacks are null in its rows,
and folders called ``name=value`` become a column.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from airflow_gemini_batch.engine.arrow.extensions import register_pandas
from airflow_gemini_batch.engine.arrow.layouts import plain_schema, plain_type
from airflow_gemini_batch.engine.arrow.texts import texts, why_no_text
from airflow_gemini_batch.engine.arrow.values import explain_bytes
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.run.storage import BLOCK_BYTES, Location
from airflow_gemini_batch.engine.source.blocks import MAX_BLOCK_BYTES, MAX_BLOCK_ROWS
from airflow_gemini_batch.engine.source.memory import Source
from airflow_gemini_batch.engine.source.raw_json_lines import RawJsonLines
from airflow_gemini_batch.engine.source.read_ahead import read_ahead

#: By the end of the name; ``.gz`` may follow the text formats.
FORMATS = {
    ".parquet": "Parquet", ".pq": "Parquet", ".parq": "Parquet",
    ".csv": "CSV", ".tsv": "CSV",
    ".jsonl": "JSON Lines", ".ndjson": "JSON Lines", ".json": "JSON Lines",
}  # fmt: skip
RAW_JSON_LINES = "raw JSON Lines"
ACCEPTED = ".parquet, .csv, .tsv, .jsonl, .ndjson, .json, and .gz after the text formats"
_GLOB = re.compile(r"[*?\[]")
_NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True, slots=True)
class File:
    """A file, the values given by the names of its folders (``lang=de/``), and what the store's listing says of it."""

    location: Location
    partitions: dict[str, str | None]
    info: Mapping[str, Any]
    #: The URI by which it was asked for, of a file, folder or glob.
    given: str = ""

    @property
    def size(self) -> int | None:
        """Bytes; None where the store does not say."""
        return self.info.get("size")


def open_files(uris: Sequence[str], locate: Callable[[str], Location], *, json_as_text: bool = False) -> FileSource:
    """All files that the URIs name. Raises InputError when there is none, or when they cannot be one table.

    :param json_as_text: whether objects and lists in JSON Lines become columns with their JSON as text.
    """
    files: dict[tuple[Any, str], File] = {}
    for uri in uris:
        for file in _find(uri, locate):
            files.setdefault((file.location.fs, file.location.path), replace(file, given=uri))
    described = uris[0] if len(uris) == 1 else f"{uris[0]} and {len(uris) - 1} more"
    if not files:
        raise InputError(
            f"{described} holds no file to read. Accepted are {ACCEPTED}; "
            "names that begin with an underscore or a dot are skipped."
        )
    found = list(files.values())
    kinds = {_format(file.location): file.location for file in found}
    if len(kinds) > 1:
        raise InputError(
            f"{described} mixes formats: {'; '.join(f'{location} is {kind}' for kind, location in kinds.items())}. "
            "Name files of one format, for example with a glob."
        )
    [kind] = kinds
    return FileSource(described, found, RAW_JSON_LINES if json_as_text and kind == "JSON Lines" else kind)


class FileSource(Source):
    """Files of one format.

    :param schema: of the table, where these files are a part of one; None: of these files.
    """

    def __init__(self, uri: str, files: Sequence[File], kind: str, schema: pa.Schema | None = None) -> None:
        self.files, self.kind = files, kind
        schemas = [_schema(kind, file, fetched) for file, fetched in zip(files, self._read_ahead(), strict=True)]
        if schema is None:
            schema = _unified(schemas, files)
            for field in _partition_fields(files):
                if field.name not in schema.names:
                    schema = schema.append(field)
        super().__init__(schema, uri)
        self._schemas = schemas

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for file in self.files:
            try:
                identity = _identity(file)
            except OSError as error:
                _cannot_read(file, error)
            digest.update(f"{file.location.uri}\0{identity}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def _read_ahead(self) -> Iterator[Callable[[], Location]]:
        return read_ahead([(file.location, file.size) for file in self.files])

    def _read(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        reader = _reader(self.kind)
        for file, fetched, schema in zip(self.files, self._read_ahead(), self._schemas, strict=True):
            # A file with none of them is still read, for its number of rows.
            own = [name for name in columns if name in schema.names] or schema.names[:1]
            try:
                for batch in reader.read(fetched(), own, self.schema):
                    yield self._completed(batch, columns, file)
            except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
                _cannot_read(file, error)

    def _completed(self, batch: pa.RecordBatch, columns: Sequence[str], file: File) -> pa.RecordBatch:
        """With the columns that this file lacks: those of its folders, and nulls for those that only other files have."""
        arrays = []
        for name in columns:
            type = self.schema.field(name).type
            if name in batch.schema.names:
                if name in file.partitions:
                    _refuse_contradiction(file, name, batch.column(name))
                arrays.append(batch.column(name))
            elif (value := file.partitions.get(name)) is not None:
                arrays.append(pa.repeat(_partition_value(file, name, value, type), batch.num_rows))
            else:
                arrays.append(pa.nulls(batch.num_rows, type))
        if not arrays:
            return batch.select([])
        return pa.RecordBatch.from_arrays(arrays, names=list(columns))


# --- formats


class _Parquet:
    @staticmethod
    def schema(location: Location) -> pa.Schema:
        with location.open() as file:
            schema = pq.read_schema(file)
            if register_pandas(schema):
                file.seek(0)
                schema = pq.read_schema(file)
            return schema.remove_metadata()

    @staticmethod
    def read(location: Location, columns: Sequence[str], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        # Not through a dataset, which holds two row groups; row groups can be as large as memory.
        with location.open() as opened, pq.ParquetFile(opened, buffer_size=BLOCK_BYTES, pre_buffer=False) as file:
            for group in range(file.num_row_groups):
                rows = _batch_rows(file.metadata.row_group(group), columns)
                yield from file.iter_batches(rows, row_groups=[group], columns=list(columns))


def _batch_rows(group: Any, columns: Sequence[str]) -> int:
    """The rows of a block, estimated from the row group's average."""
    needed = set(columns)
    chunks = [group.column(index) for index in range(group.num_columns)]
    size = sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema.split(".")[0] in needed)
    rows: int = MAX_BLOCK_BYTES * group.num_rows // max(size, 1)
    return max(1, min(MAX_BLOCK_ROWS, rows))


def _reader(kind: str) -> Any:
    if kind == "Parquet":
        return _Parquet
    if kind == RAW_JSON_LINES:
        return RawJsonLines
    # Imported here, because pyarrow's datasets import pandas: seconds that reading Parquet does not need.
    from airflow_gemini_batch.engine.source import json_lines, text_files

    return {"CSV": text_files.Csv, "JSON Lines": json_lines.JsonLines}[kind]


# --- finding files


def _find(uri: str, locate: Callable[[str], Location]) -> list[File]:
    try:
        place = locate(uri)
        place.fs.invalidate_cache()
        if place.exists():
            return _below(place) if place.fs.isdir(place.path) else [File(place, {}, place.fs.info(place.path))]
        if not _GLOB.search(place.path):
            raise InputError(f"{uri} does not exist: there is neither a file nor a folder. Check the path.")
        root = _GLOB.split(place.path, maxsplit=1)[0].rpartition("/")[0]
        found: list[File] = []
        for path, info in sorted(place.fs.glob(place.path, detail=True).items()):
            match = _at(place, path, uri)
            if _is_hidden(match.path, root):
                continue
            is_folder = info["type"] == "directory"
            found += _below(match, root) if is_folder else [File(match, _partitions(match.path, root), info)]
        return found
    except InputError:
        raise
    except Exception as error:  # every store has its own errors for refused credentials or a missing bucket
        raise InputError(f"Cannot read {uri}: {type(error).__name__}: {error}") from error


def _below(folder: Location, root: str | None = None) -> list[File]:
    root = folder.path if root is None else root
    found = sorted(folder.fs.find(folder.path, detail=True).items())
    return [
        File(_at(folder, path, folder.uri), _partitions(path, root), info) for path, info in found if not _is_hidden(path, root)
    ]


def _at(near: Location, path: str, uri: str) -> Location:
    """Another location of the same file system, with its URI written the same way."""
    path = path.rstrip("/")
    return Location(near.fs, path, path if near.is_local and "://" not in uri else near.fs.unstrip_protocol(path))


def _steps(path: str, root: str) -> list[str]:
    return path.removeprefix(root).strip("/").split("/")


def _is_hidden(path: str, root: str) -> bool:
    return any(step.startswith(("_", ".")) for step in _steps(path, root))


def _partitions(path: str, root: str) -> dict[str, str | None]:
    pairs = [step.split("=", 1) for step in _steps(path, root)[:-1] if "=" in step]
    return {unquote(name): None if value == _NULL_PARTITION else unquote(value) for name, value in pairs}


def _partition_fields(files: Sequence[File]) -> list[pa.Field]:
    """Integers where every folder is named by one and nothing is lost by it (``01`` is not 1), else strings."""
    values: dict[str, list[str]] = {}
    for file in files:
        for name, value in file.partitions.items():
            values.setdefault(name, []).extend([] if value is None else [value])
    return [
        pa.field(name, pa.int64() if found and all(map(_is_integer, found)) else pa.string()) for name, found in values.items()
    ]


def _partition_value(file: File, name: str, text: str, type: pa.DataType) -> pa.Scalar:
    try:
        return pa.scalar(text, pa.string()).cast(plain_type(type))
    except pa.ArrowException as error:
        raise InputError(
            f"{file.location}: its folder says {name}={text}, and {name!r} is of type {type} in other files. "
            "Rename the folder or the column."
        ) from error


def _refuse_contradiction(file: File, name: str, column: pa.Array) -> None:
    """Raise InputError when the column that a file holds itself has another value than the file's folder."""
    text = file.partitions[name]
    type = plain_type(column.type)
    for found in set(texts(column)) if why_no_text(type) is None else ():
        if found == text or (text is None and found == "") or (text is not None and _is_same(found, text, type)):
            continue
        raise InputError(
            f"{file.location}: its folder says {name}={_NULL_PARTITION if text is None else text}, and its column {name!r} holds "
            f"{found!r}. Move the file, or drop one of the two."
        )


def _is_same(found: Any, text: str, type: pa.DataType) -> bool:
    """Whether the folder's text is another way of writing the value."""
    try:
        return bool(texts(pa.array([text], pa.string()).cast(type)) == [found])
    except pa.ArrowException:
        return False


def _is_integer(text: str) -> bool:
    return re.fullmatch(r"0|-?[1-9][0-9]{0,17}", text) is not None


def extension(location: Location) -> str:
    return os.path.splitext(location.name.lower().removesuffix(".gz"))[1]


def _format(location: Location) -> str:
    kind = FORMATS.get(extension(location))
    if kind is None or (kind == "Parquet" and location.name.lower().endswith(".gz")):
        raise InputError(f"{location} has no known format by its name. Accepted are {ACCEPTED}.")
    return kind


def _identity(file: File) -> str:
    """A text that changes when the file is written again."""
    if file.location.is_local:
        stat = os.stat(file.location.path)
        return f"{stat.st_size} {stat.st_mtime_ns}"
    for name in ("ETag", "etag", "generation", "md5Hash", "LastModified", "last_modified", "mtime", "updated", "created"):
        if file.info.get(name):
            return f"{file.size} {name} {file.info[name]}"
    return str(file.size)


# --- errors


def _schema(kind: str, file: File, fetched: Callable[[], Location]) -> pa.Schema:
    try:
        return _reader(kind).schema(fetched())
    except InputError:
        raise
    except Exception as error:
        _cannot_read(file, error)


def _cannot_read(file: File, error: Exception) -> NoReturn:
    remedy = ""
    if "straddling" in str(error):
        remedy = " A line is too long to be read; write such rows as Parquet."
    elif isinstance(error, UnicodeDecodeError):
        remedy = f" {explain_bytes(error)}."
    elif _format(file.location) == "JSON Lines":
        remedy = " Expected one JSON object a line."
    kind = _format(file.location)
    reason = str(error).rstrip(".")
    raise InputError(f"Cannot read {file.location} as {kind}: {type(error).__name__}: {reason}.{remedy}") from error


def _unified(schemas: Sequence[pa.Schema], files: Sequence[File]) -> pa.Schema:
    schemas = [plain_schema(schema) for schema in schemas]  # a dictionary here and plain values there are the same
    schema = schemas[0]
    for other, file in zip(schemas[1:], files[1:], strict=True):
        try:
            schema = pa.unify_schemas([schema, other], promote_options="permissive")
        except pa.ArrowException as error:
            raise InputError(
                f"{file.location} does not fit with the files before it, of which the first is {files[0].location}: {error}. "
                "Cast the column to one type in all files."
            ) from error
    return schema
