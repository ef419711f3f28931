"""A run: its manifest, and the place of each of its files.

    <destination>/
      results/part-00000-0.parquet       one part per shard and attempt
      results/part-copies-00000-0.parquet    the rows that are answered by its rows
      results/part-reused-00000-0.parquet    the rows that earlier runs have answered
      dead_letter/part-00000-0.parquet
      results_media/part-00000-0/        media made by the model, where they are kept as files
      summary.html                       the finished run on one page, for people
      scores/                            how results were scored, and the runs of judges (see ``judge_folders``)
      comparisons/                       of this run with others (see ``evals.comparing``)
      summary.json                       written last: its presence means finished
      _run/                              table readers skip names that begin with an underscore
        manifest.json                    what was asked; its presence means built
        sample.json, sample_usage.json   in a run of a sample: what was drawn, and what that used (see ``samples``)
        requests/shard-00000-0.jsonl     what is sent, one request a line
        inputs/shard-00000-0.arrow       the input rows, in input order (see ``build.shards``)
        duplicates/shard-00000-0.arrow   rows that ask what a row of the shard asks (see ``build.duplicates``)
        reuse.json                       the earlier runs that answers are taken from (see ``build.chosen_runs``)
        groups/                          of a run that several builders build (see ``groups``)
        media/shard-00000-0.json         the files that the requests name, where they name any
        reused/part-00000-0.parquet      results of earlier runs, as they go into the table
        index.parquet                    fingerprint -> result, for later runs (see ``build.answer_index``)
        ledger/                          what was submitted (see ``ledger``)
        responses/shard-00000-0.jsonl    the output, byte for byte; lines that match no row beside it

Every name follows from the run alone, so any step may be repeated by anyone at any time and finds what the last one left.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec
import pyarrow as pa

from airflow_gemini_batch.engine.costs.bounds import CostBounds
from airflow_gemini_batch.engine.costs.prices import Prices
from airflow_gemini_batch.engine.errors import CorruptRunError, DestinationError
from airflow_gemini_batch.engine.run.storage import Location, locate

#: 2: fingerprints are of model and request; before, of the request alone.
MANIFEST_VERSION = 2
_PART_NAME = re.compile(r"part-(copies-|reused-)?(\d{5,})-(\d+)\.parquet")

#: The folders of the two tables.
Table = Literal["results", "dead_letter"]

#: In the folder of scores (``scores/<name>``): what judges were asked and said, each in runs of its own, ``<judge>/<run>``.
JUDGES = "_judges"
TABLES: tuple[Table, ...] = ("results", "dead_letter")


_T = TypeVar("_T")


class ShardAttempt(msgspec.Struct, frozen=True, order=True):
    """One attempt at one shard: the unit that becomes exactly one job and one part of each table."""

    shard: int
    attempt: int = 0

    def __str__(self) -> str:
        return f"{self.shard:05d}-{self.attempt}"


class Shard(msgspec.Struct, frozen=True):
    """A run of consecutive input rows and the request file made of those that could be turned into requests.

    :param number: counts from 0 in input order; in a run that was built in groups, in each group (see ``groups``).
    :param rows: input rows; ``requests`` of them are in the request file, the others have a problem.
    :param bytes: size of the request file; it holds nothing, and no job is made of it, when ``requests`` is 0.
    :param sha256: hex digest of the request file.
    :param attempt: 0 for the rows' first try; n+1 for resubmitted rows of attempt n.
    :param redrives: how many earlier attempts count toward ``max_redrives``; those cancelled by this package do not.
    :param media: how many distinct files must be at the service before the job is created.
    :param bounds: what its requests may cost; None where that was not measured.
    :param duplicates: input rows besides ``rows`` that are answered by the shard's answers.
    """

    number: int
    rows: int
    requests: int
    bytes: int
    sha256: str
    attempt: int = 0
    redrives: int = 0
    media: int = 0
    duplicates: int = 0
    bounds: CostBounds | None = None

    @property
    def id(self) -> ShardAttempt:
        return ShardAttempt(self.number, self.attempt)


class SourceInfo(msgspec.Struct, frozen=True):
    """Where the rows came from: a description for people, and a fingerprint that shows whether it has changed.

    :param fingerprint: hex digest; None for a source that can be read only once, such as an iterator.
    :param schema: of the columns, as an Arrow IPC message in base64.
    """

    description: str
    fingerprint: str | None
    schema: str = ""

    @classmethod
    def of(cls, description: str, fingerprint: str | None, schema: pa.Schema) -> SourceInfo:
        return cls(description, fingerprint, base64.b64encode(schema.serialize()).decode())

    def arrow_schema(self) -> pa.Schema | None:
        """The source's schema when the run was built; None in a run that does not hold it."""
        return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(self.schema))) if self.schema else None


class ReusedPart(msgspec.Struct, frozen=True):
    """Rows that were answered by earlier runs, in one part of the results.

    :param number: counts from 0.
    :param saved_usd: what their answers had cost, as far as it is known; None where nothing of it is.
    """

    number: int
    rows: int
    saved_usd: float | None = None

    @property
    def id(self) -> ShardAttempt:
        return ShardAttempt(self.number)


class Manifest(msgspec.Struct, frozen=True):
    """What was asked. Written once, after all shards, and never changed.

    :param run_id: 16 random hex digits, drawn when the run is built: two runs of the same table are both paid for.
    :param source: where the rows came from, ``key`` and ``carry`` the columns asked for (key None: the row's number).
    :param request: the request spec as plain JSON.
    :param owner: the caller, where it is known (the task instance without its try); see ``if_exists="replace"``.
    :param labels: who or what the run is for; they decide nothing.
    :param sample: how many rows were drawn from the table (see ``samples``); None: the run is the whole table.
    :param repeats: how often each row is sent (see ``repeats``).
    :param estimated_usd: what a reused trial said that the other requests would cost; None without one.
    :param prices: of the model, as they were known then; None in a run of an earlier version.
    :param duplicates_sha256: digest of the rows that another row pays for; None: every row pays for itself.
    :param reused: the rows that earlier runs have answered; ``reused_sha256`` is their digest.
    """

    run_id: str
    model: str
    source: SourceInfo
    request: dict[str, Any]
    key: str | None
    carry: tuple[str, ...]
    shards: tuple[Shard, ...]
    created_at: str
    owner: str | None = None
    duplicates_sha256: str | None = None
    reused: tuple[ReusedPart, ...] = ()
    reused_sha256: str | None = None
    version: int = MANIFEST_VERSION
    prices: Prices | None = None
    labels: dict[str, str] = {}
    sample: int | None = None
    repeats: int = 1
    estimated_usd: float | None = None

    @property
    def question(self) -> str:
        """Digest of all that decides which requests are made, except the source's own content."""
        asked: dict[str, Any] = {"model": self.model, "request": self.request, "key": self.key, "carry": self.carry}
        asked |= {} if self.sample is None else {"sample": self.sample}
        asked |= {} if self.repeats == 1 else {"repeats": self.repeats}
        return hashlib.sha256(msgspec.json.encode(asked, order="deterministic")).hexdigest()

    @property
    def embeds(self) -> bool:
        """Whether the requests ask for embeddings and not for answers."""
        return "embed_request" in self.request

    @property
    def rows(self) -> int:
        return sum(shard.rows + shard.duplicates for shard in self.shards) + self.reused_rows

    @property
    def reused_rows(self) -> int:
        return sum(part.rows for part in self.reused)


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """The files of a run at one destination.

    :param locate: finds the media files that its requests name.
    """

    destination: Location
    locate: Callable[[str], Location] = dataclasses.field(default=locate, repr=False, compare=False)

    @property
    def manifest_file(self) -> Location:
        return self.destination / "_run" / "manifest.json"

    @property
    def summary_file(self) -> Location:
        return self.destination / "summary.json"

    @property
    def summary_page(self) -> Location:
        """The same for people (see ``report.summary_page``)."""
        return self.destination / "summary.html"

    @property
    def ledger_folder(self) -> Location:
        return self.destination / "_run" / "ledger"

    @property
    def groups_folder(self) -> Location:
        """The plan of a run that is built in groups, and what their builds leave for the merge (see ``groups``)."""
        return self.destination / "_run" / "groups"

    def requests_file(self, part: ShardAttempt) -> Location:
        return self.destination / "_run" / "requests" / f"shard-{part}.jsonl"

    def inputs_file(self, part: ShardAttempt) -> Location:
        return self.destination / "_run" / "inputs" / f"shard-{part}.arrow"

    def duplicates_file(self, part: ShardAttempt) -> Location:
        """The rows that rows of the shard pay for; absent where there are none."""
        return self.destination / "_run" / "duplicates" / f"shard-{part}.arrow"

    @property
    def index_file(self) -> Location:
        """Where in the results the answer to a request is (see ``build.answer_index``)."""
        return self.destination / "_run" / "index.parquet"

    @property
    def reuse_file(self) -> Location:
        """Which earlier runs answers are taken from (see ``build.chosen_runs``)."""
        return self.destination / "_run" / "reuse.json"

    def reused_file(self, part: ShardAttempt) -> Location:
        """Results that earlier runs have paid for, as they go into the table."""
        return self.destination / "_run" / "reused" / f"part-{part}.parquet"

    def origins_file(self, part: ShardAttempt) -> Location:
        """When these results were answered, and what they had cost."""
        return self.destination / "_run" / "reused" / f"origins-{part}.parquet"

    def media_file(self, part: ShardAttempt) -> Location:
        """The files that the requests name; absent where they name none."""
        return self.destination / "_run" / "media" / f"shard-{part}.json"

    def responses_file(self, part: ShardAttempt) -> Location:
        return self.destination / "_run" / "responses" / f"shard-{part}.jsonl"

    def aside_file(self, part: ShardAttempt) -> Location:
        """The output lines that match no row: foreign keys, second lines for a key, lines without a readable key."""
        return self.destination / "_run" / "responses" / f"aside-{part}.jsonl"

    @property
    def redrives_folder(self) -> Location:
        return self.destination / "_run" / "redrives"

    def redrive_plan_file(self, attempt: int) -> Location:
        """What a redrive of the finished run resubmits as this attempt (see ``finish.reopening``)."""
        return self.redrives_folder / f"{attempt:05}.json"

    def landed_file(self, part: ShardAttempt) -> Location:
        """The counts of a landed part; written after both parts, so its presence means that they are whole."""
        return self.ledger_folder / f"{part}.landed.json"

    def media_folder(self, part: ShardAttempt) -> Location:
        """The media of the results of a part, where they are kept as files."""
        return self.destination / "results_media" / f"part-{part}"

    def results_part(self, part: ShardAttempt) -> Location:
        return self.table_part("results", part)

    def dead_letter_part(self, part: ShardAttempt) -> Location:
        return self.table_part("dead_letter", part)

    def table_part(self, table: Table, part: ShardAttempt) -> Location:
        return self.destination / table / f"part-{part}.parquet"

    def reused_part(self, part: ShardAttempt) -> Location:
        return self.destination / "results" / f"part-reused-{part}.parquet"

    def reused_media_folder(self, part: ShardAttempt) -> Location:
        return self.destination / "results_media" / f"part-reused-{part}"

    def copies_part(self, table: Table, part: ShardAttempt) -> Location:
        """The rows that rows of that part pay for; absent where there are none."""
        return self.destination / table / f"part-copies-{part}.parquet"

    def manifest(self) -> Manifest | None:
        """What was asked, or None when this destination has not been built yet."""
        return read_json(self.manifest_file, Manifest)

    def built(self) -> Manifest:
        """What was asked. Raises DestinationError when the destination has not been built."""
        manifest = self.manifest()
        if manifest is None:
            raise DestinationError(f"{self.destination} holds no run: {self.manifest_file} is absent. Run the build step first.")
        return manifest


def read_json(file: Location, kind: type[_T]) -> _T | None:
    """The file decoded as ``kind``, or None when it is absent. Raises CorruptRunError when it exists and cannot be decoded."""
    try:
        content = file.read()
    except FileNotFoundError:
        return None
    except NotADirectoryError as error:
        raise DestinationError(
            f"Cannot read {file}: a part of that path is a file, not a folder. Choose another destination."
        ) from error
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.MsgspecError as error:
        raise CorruptRunError(
            f"{file} is torn or was written by something else ({len(content)} bytes: {error}). "
            "Inspect it; if the run may start over, use if_exists='replace'."
        ) from error


#: Whose rows a part holds, as its name says it.
Kind = Literal["", "copies-", "reused-"]


def judge_folders(run: Run) -> Iterator[Location]:
    """The folders that hold the runs of a judge of this run's scores, one for each judge and name of scores."""
    for scores in (run.destination / "scores").folders():
        if not scores.name.startswith(("_", ".")):
            yield from (scores / JUDGES).folders()


class PartName(NamedTuple):
    """What a part of a table holds: the rows of a shard and attempt, copies for the rows that they pay for, or reused results."""

    id: ShardAttempt
    kind: Kind = ""

    def __str__(self) -> str:
        return f"part-{self.kind}{self.id}.parquet"

    @classmethod
    def of(cls, name: str) -> PartName | None:
        """``part-00003-1.parquet`` -> that of ``ShardAttempt(3, 1)``; None for any other name."""
        match = _PART_NAME.fullmatch(name)
        if match is None:
            return None
        kind: Kind = "copies-" if match[1] == "copies-" else "reused-" if match[1] == "reused-" else ""
        return cls(ShardAttempt(int(match[2]), int(match[3])), kind)


def span_of(shards: Iterable[Shard]) -> int:
    """One more than the highest number of a manifest's shards. A run that was built in groups leaves numbers out."""
    return 1 + max(shard.number for shard in shards)


def root_of(number: int, span: int) -> int:
    """The shard of the manifest that a shard's rows come from. Resubmitted pieces of a shard are numbered accordingly.

    :param span: of the manifest's shards (see ``span_of``).
    """
    return number % span
