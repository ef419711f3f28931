"""The first step: a table becomes the request files and the manifest of a run.

Nothing here costs money. The manifest is written last and exclusively, so a destination holds one run or none, and the same call
made again, by a retry, a cleared task or a second process, finds that run instead of making another.
"""

from __future__ import annotations

import datetime as dt
import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from airflow_gemini_batch.engine.build.shards import build_shards, digest_shards
from airflow_gemini_batch.engine.errors import CorruptRunError, DestinationError, InputError, ServiceError
from airflow_gemini_batch.engine.gemini.client import GeminiClient
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.request.encoding import RequestEncoder, compile_request
from airflow_gemini_batch.engine.run.cancellation import cancel_run
from airflow_gemini_batch.engine.run.layout import Manifest, Run, Shard, SourceInfo
from airflow_gemini_batch.engine.run.storage import Location, locate
from airflow_gemini_batch.engine.source.open import Source, open_source
from airflow_gemini_batch.engine.specs import RequestSpec, takes_json_as_text

log = logging.getLogger(__name__)

_WAY_OUT = "Choose another destination, or pass if_exists='replace' to delete that run."
#: if_exists='replace' keeps what the same owner has begun, so it would not help here.
_OWN_WAY_OUT = "This task instance began that run with other arguments. Choose another destination, or remove that folder."

IfExists = Literal["resume", "replace"]


@dataclass(frozen=True, slots=True)
class RunSpec:
    """The specification of a run: a table, what to ask for each row, and the model.

    :param source: a URI (file, folder, glob) or a list of them, a DataFrame, an Arrow table or a stream of record batches.
    :param request: a ``GenerateRequest``, a ``RawRequest`` or a callable that makes a REST request of a row.
    :param key: the column that identifies rows; None: the row's number.
    :param carry: columns repeated in both tables.
    """

    source: Any
    request: RequestSpec
    model: str
    key: str | None = None
    carry: Sequence[str] = ()
    locate: Callable[[str], Location] = locate


def build_run(
    run: Run,
    spec: RunSpec,
    options: BatchOptions,
    *,
    if_exists: IfExists = "resume",
    owner: str | None = None,
    client: GeminiClient | None = None,
) -> Manifest:
    """Make the run's request files, or find those that exist.

    :param options: its shard limits say where the table is cut.
    :param if_exists: what to do when the destination holds a run: ``resume`` it when it is the same, or ``replace`` it.
    :param owner: the caller, the same for every try of one task instance. A run that this owner has begun is never replaced, so a
        retry continues where the last try stopped and pays nothing twice.
    :param client: cancels jobs of the replaced run that are still running.

    Raises InputError for a source or request that cannot be used and DestinationError when the destination holds another run.
    """
    if if_exists not in ("resume", "replace"):
        raise InputError(f"if_exists is {if_exists!r}; expected 'resume' or 'replace'.")
    if not spec.model or not isinstance(spec.model, str):
        raise InputError(f"model is {spec.model!r}; expected a name such as 'gemini-3.6-flash'.")
    source = open_source(spec.source, locate=spec.locate, json_as_text=takes_json_as_text(spec.request))
    encoder = compile_request(spec.request, source.schema, spec.model, spec.locate)
    if if_exists == "replace" and not _is_own(run, owner):
        discard_run(run, client)
    there = run.manifest()
    asked = Manifest(
        run_id=secrets.token_hex(8),
        model=spec.model,
        source=SourceInfo(source.description, source.fingerprint()),
        request=encoder.spec,
        key=spec.key,
        carry=tuple(spec.carry),
        shards=(),
        created_at=dt.datetime.now(dt.timezone.utc).isoformat(),
        owner=owner,
    )
    if there is not None:
        found = there
        _require_same(run, found, asked, lambda: _digests(source, encoder, spec, options, found))
        log.info("%s holds this run already: %s.", run.destination, _in_words(found))
        return found
    _require_empty(run)
    shards = build_shards(source, encoder, run=run, key=spec.key, carry=spec.carry, options=options)
    manifest = msgspec.structs.replace(asked, shards=shards)
    if not run.manifest_file.create(msgspec.json.format(msgspec.json.encode(manifest), indent=1)):
        there = run.built()
        _require_same(run, there, asked, lambda: [(shard.rows, shard.sha256) for shard in shards])
        return there
    log.info("Built %s from %s.", _in_words(manifest), source.description)
    return manifest


def discard_run(run: Run, client: GeminiClient | None) -> None:
    """Remove a run, even a corrupt one. Its running jobs are cancelled first, so that none continues unnoticed."""
    if client is not None:
        try:
            cancel_run(run, client, why="replaced")
        except (CorruptRunError, ServiceError) as error:
            log.warning("%s Jobs of the replaced run may continue and be billed.", error)
    # The manifest is deleted last: while it exists, a crash in between leaves something that is still recognised as a run.
    run.summary_file.delete()
    for folder in ("results", "results_media", "dead_letter", "_run"):
        (run.destination / folder).delete()


def _is_own(run: Run, owner: str | None) -> bool:
    """Whether this owner has begun the existing run; a corrupt one has no owner."""
    try:
        there = run.manifest()
    except CorruptRunError:
        return False
    return owner is not None and there is not None and there.owner == owner


def _digests(
    source: Source, encoder: RequestEncoder, spec: RunSpec, options: BatchOptions, there: Manifest
) -> list[tuple[int, str]]:
    """The digests of the shards that the rows would become, cut as in the existing run."""
    log.info("The source is not recognised by its fingerprint; comparing its rows with what was built from them.")
    cut = [shard.rows for shard in there.shards]
    return digest_shards(source, encoder, key=spec.key, cut=cut, max_bytes=options.max_shard_bytes)


def _require_same(run: Run, there: Manifest, asked: Manifest, digests: Callable[[], list[tuple[int, str]]]) -> None:
    """Raise DestinationError unless specification and rows are the same. Rows are read only where fingerprints differ."""
    differs = [
        f"{name} is {_short(was)}, this call has {_short(now)}"
        for name, was, now in (
            ("model", there.model, asked.model),
            ("request", there.request, asked.request),
            ("key", there.key, asked.key),
            ("carry", list(there.carry), list(asked.carry)),
        )
        if was != now
    ]
    fingerprint = there.source.fingerprint
    if not differs and (fingerprint is None or fingerprint != asked.source.fingerprint or _is_code(there)):
        was = [(shard.rows, shard.sha256) for shard in there.shards]
        if digests() != was:
            differs = [f"source is {there.source.description} with other rows than {asked.source.description} has now"]
    if differs:
        raise DestinationError(
            f"{run.destination} holds another run ({there.run_id}, built {there.created_at}): {'; '.join(differs)}. "
            f"{_WAY_OUT if asked.owner is None or asked.owner != there.owner else _OWN_WAY_OUT}"
        )


def _require_empty(run: Run) -> None:
    for folder in ("results", "dead_letter"):
        found = (run.destination / folder).children()
        if found:
            raise DestinationError(
                f"{run.destination} holds {found[0]} but no manifest: it is not a run that can be resumed. "
                "Choose another destination, or pass if_exists='replace' to delete those tables."
            )


def _is_code(manifest: Manifest) -> bool:
    """A callable's name does not show what it does today."""
    return "callable" in manifest.request


def _in_words(manifest: Manifest) -> str:
    shards: tuple[Shard, ...] = manifest.shards
    requests = sum(shard.requests for shard in shards)
    size = sum(shard.bytes for shard in shards) / 1e6
    return (
        f"run {manifest.run_id}: {manifest.rows} rows, {requests} requests for {manifest.model} "
        f"in {len(shards)} shard{'s' if len(shards) != 1 else ''} ({size:.1f} MB)"
    )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}…"
