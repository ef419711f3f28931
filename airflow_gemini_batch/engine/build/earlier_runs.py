"""The finished runs that a new run may take results from: named by their URIs, or found below a folder.

A run that is named and cannot serve is an error, with the reason. One that is found below a folder is passed over.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from airflow_gemini_batch.engine.build.answer_index import is_index_of, write_index
from airflow_gemini_batch.engine.errors import CorruptRunError, DestinationError, InputError
from airflow_gemini_batch.engine.run.damage import find_damage
from airflow_gemini_batch.engine.run.layout import Manifest, PartName, Run, read_json
from airflow_gemini_batch.engine.run.repeats import REPEAT
from airflow_gemini_batch.engine.run.storage import Location, locate
from airflow_gemini_batch.engine.run.tables import RESERVED_COLUMNS

log = logging.getLogger(__name__)

#: Folders below one another that are searched for runs.
_DEPTH = 8


@dataclass(frozen=True, slots=True)
class EarlierRun:
    """A finished run whose results have the columns that a new one needs.

    :param index_file: its index, or one that was made for it elsewhere.
    :param finished_at: when it was finished (RFC 3339).
    :param answers: how many records its index holds.
    :param carried: the names of its carried columns.
    :param folder: with its parts; None: its results.
    :param has_fingerprints: whether ``request_sha256`` in its results is the fingerprint of model and request.
    """

    run: Run
    index_file: Location
    finished_at: str
    answers: int
    carried: tuple[str, ...]
    has_fingerprints: bool
    folder: Location | None = None

    @property
    def uri(self) -> str:
        return self.run.destination.uri

    def part(self, name: str) -> Location:
        return (self.folder or self.run.destination / "results") / name

    @contextlib.contextmanager
    def index(self) -> Iterator[pq.ParquetFile]:
        with self.index_file.open() as file, pq.ParquetFile(file) as parquet:
            yield parquet


class _Counts(msgspec.Struct):
    """What is read of a summary."""

    results: int
    dead_letter: int
    finished_at: str


class _CannotServeError(Exception):
    """Why a run has no results for another one; the message completes "the run …"."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a new run needs of an earlier one.

    :param own: the run itself, which does not serve itself; None where there is none.
    :param extra: the columns that its request adds to the results.
    """

    own: Run | None
    model: str
    extra: Sequence[pa.Field]
    keep_response: bool


def find_earlier_runs(uris: Sequence[str], needs: Needs, open_uri: Callable[[str], Location], scratch: Path) -> list[EarlierRun]:
    """The runs at these URIs, and below those that are folders of runs; the one that was finished last comes first.

    :param scratch: a folder on the local disk for the indexes of runs that cannot be written to.

    Raises InputError for a run that is named and cannot serve.
    """
    found: dict[str, EarlierRun] = {}
    for uri in uris:
        place = open_uri(uri)
        if _is_run(place):
            try:
                earlier = _load(Run(place, open_uri), needs, scratch)
            except _CannotServeError as reason:
                raise InputError(f"reuse names {uri}, which cannot serve: it {reason}.") from None
            found[earlier.uri] = earlier
            continue
        runs = 0
        for run in _runs_below(place, open_uri, _DEPTH):
            runs += 1
            try:
                found[run.destination.uri] = _load(run, needs, scratch)
            except _CannotServeError as reason:
                log.info("%s is not reused: it %s.", run.destination, reason)
        if runs == 0:
            log.warning("reuse names %s, below which there is no run: nothing is reused from there.", uri)
    return sorted(found.values(), key=lambda earlier: earlier.finished_at, reverse=True)


def runs_at(place: Location, open_uri: Callable[[str], Location]) -> Iterator[Run]:
    """The run at a place, or the runs below it, finished or not."""
    if _is_run(place):
        yield Run(place, open_uri)
    else:
        yield from _runs_below(place, open_uri, _DEPTH)


def _is_run(place: Location) -> bool:
    return (place / "summary.json").exists() or (place / "_run" / "manifest.json").exists()


def _runs_below(place: Location, open_uri: Callable[[str], Location], depth: int) -> Iterator[Run]:
    for folder in place.folders():
        if folder.name.startswith(("_", ".")):
            continue
        if _is_run(folder):
            yield Run(folder, open_uri)
        elif depth > 1:
            yield from _runs_below(folder, open_uri, depth - 1)


def _load(run: Run, needs: Needs, scratch: Path) -> EarlierRun:
    own = None if needs.own is None else needs.own.destination
    if own is not None and run.destination.path == own.path and type(run.destination.fs) is type(own.fs):
        raise _CannotServeError("is this run itself")
    try:
        manifest, counts = run.manifest(), read_json(run.summary_file, _Counts)
    except CorruptRunError as error:
        raise _CannotServeError(f"cannot be read ({error})") from error
    if manifest is None:
        raise _CannotServeError("has no manifest: it was finished, and its folder _run is gone")
    if counts is None:
        raise _CannotServeError("is not finished")
    if manifest.model.removeprefix("models/") != needs.model.removeprefix("models/"):
        raise _CannotServeError(f"asked {manifest.model}, not {needs.model}")
    if damage := find_damage(run, results=counts.results, dead_letter=counts.dead_letter):
        raise _CannotServeError(f"has changed since it was finished: {damage.rstrip('.')}")
    carried = _carried(manifest)
    _require_columns(run, carried, needs)
    index_file = _index(run, manifest, counts.finished_at, scratch)
    with index_file.open() as file:
        answers = pq.read_metadata(file).num_rows
    return EarlierRun(run, index_file, counts.finished_at, answers, carried, manifest.version >= 2)


def _carried(manifest: Manifest) -> tuple[str, ...]:
    carried = (name for name in manifest.carry if not (name == "key" and manifest.key == "key"))
    return (*carried, *([] if manifest.repeats == 1 else [REPEAT.name]))


def _require_columns(run: Run, carried: Sequence[str], needs: Needs) -> None:
    """Compare the columns of the first part; all have the same."""
    part = next((file for file in (run.destination / "results").children() if PartName.of(file.name)), None)
    if part is None:
        return
    with part.open() as file:
        schema = pq.read_schema(file)
    there = {field.name: field.type for field in schema if field.name not in carried}
    wanted = {field.name: field.type for field in needs.extra}
    for name in sorted(wanted.keys() | (there.keys() - RESERVED_COLUMNS)):
        if there.get(name) != wanted.get(name):
            raise _CannotServeError(
                f"has another schema: its column {name!r} is {there.get(name, 'absent')}, and {wanted.get(name, 'absent')} here"
            )
    if needs.keep_response and "response" not in there:
        raise _CannotServeError("kept no responses, and keep_response is True here")


def _index(run: Run, manifest: Manifest, finished_at: str, scratch: Path) -> Location:
    with contextlib.suppress(FileNotFoundError, pa.ArrowInvalid), run.index_file.open() as content:
        if is_index_of(pq.read_metadata(content), manifest, finished_at):
            return run.index_file
    log.info("%s has no index of what it was when it was finished; one is made now.", run.destination)
    try:
        write_index(run, manifest, run.index_file, finished_at=finished_at)
        return run.index_file
    except (DestinationError, PermissionError) as error:
        log.info("%s The index is made on the local disk.", error)
    except (FileNotFoundError, CorruptRunError) as error:
        raise _CannotServeError(f"lacks a file ({error})") from error
    file = locate(scratch / f"{manifest.run_id}.parquet")
    write_index(run, manifest, file, finished_at=finished_at)
    return file
