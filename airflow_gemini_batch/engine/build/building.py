"""The first step: a table becomes the request files and the manifest of a run.

Nothing here costs money. The manifest is written last and exclusively, so a destination holds one run or none, and the same call
made again, by a retry, a cleared task or a second process, finds that run instead of making another.

A run is what was asked when it was built. If the source has changed or gone since, the run is finished as it was built: its
requests lie in the run, and some of them may have been paid for.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

import msgspec

from airflow_gemini_batch.engine.build.advice import log_advice
from airflow_gemini_batch.engine.build.budget import Budget, expected_usd, meter_of, require_limit, shards_within
from airflow_gemini_batch.engine.build.differences import describe_differences
from airflow_gemini_batch.engine.build.earlier_answers import found_runs
from airflow_gemini_batch.engine.build.leftovers import discard_run, require_empty
from airflow_gemini_batch.engine.build.preflight import check_before_build
from airflow_gemini_batch.engine.build.reuse import Answers, taken_before
from airflow_gemini_batch.engine.build.sampling import Sampler, require_repeatable
from airflow_gemini_batch.engine.build.shards import Built, build_shards, digest_shards
from airflow_gemini_batch.engine.build.trial import trial_among
from airflow_gemini_batch.engine.costs.prices import prices_of
from airflow_gemini_batch.engine.errors import CorruptRunError, DestinationError, InputError
from airflow_gemini_batch.engine.gemini.client import GeminiClient
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.request.encoding import RequestEncoder, compile_request
from airflow_gemini_batch.engine.request.fingerprints import Fingerprinter
from airflow_gemini_batch.engine.request.named_columns import columns_named
from airflow_gemini_batch.engine.run.layout import Manifest, Run, Shard, SourceInfo
from airflow_gemini_batch.engine.run.ledger import Ledger
from airflow_gemini_batch.engine.run.repeats import require_repeats
from airflow_gemini_batch.engine.run.samples import sample_file
from airflow_gemini_batch.engine.run.snapshot import Snapshot
from airflow_gemini_batch.engine.run.storage import Location, locate
from airflow_gemini_batch.engine.source.open import Source, open_source
from airflow_gemini_batch.engine.specs import RequestSpec, read_labels, require_sample, takes_json_as_text

log = logging.getLogger(__name__)


def uris_of(reuse: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None) -> tuple[str, ...]:
    """``reuse`` as a tuple of URIs. Raises InputError for anything else."""
    given: Any = () if reuse is None else [reuse] if isinstance(reuse, (str, os.PathLike)) else reuse
    if not isinstance(given, (list, tuple)) or not all(isinstance(uri, (str, os.PathLike)) and os.fspath(uri) for uri in given):
        raise InputError(f"reuse is {reuse!r}; expected the URI of a finished run, or of a folder of runs, or a list of them.")
    return tuple(os.fspath(uri) for uri in given)


IfExists = Literal["resume", "replace"]

#: What the SDK refuses in a model's name.
_NOT_IN_MODELS = ("..", "?", "&")


@dataclass(frozen=True, slots=True)
class RunSpec:
    """The specification of a run: a table, what to ask for each row, and the model.

    :param source: a URI (file, folder, glob) or a list of them, a DataFrame, a list of dicts, an Arrow table or a stream of
        record batches.
    :param request: a ``GenerateRequest``, a ``RawRequest`` or a callable that makes a REST request of a row.
    :param key: the column that identifies rows; None: the row's number.
    :param carry: columns repeated in both tables.
    :param dedupe: whether rows with equal requests share one. A run that is built stays as it was built.
    :param reuse: URIs of finished runs, or of folders of runs, whose results are taken over where the request is the same.
    :param labels: who or what the run is for; not a part of the question.
    :param sample: how many rows are drawn from the table, of which the run then consists; None: all.
    :param max_cost_usd: nothing is sent that may cost more; not a part of the question.
    :param repeats: how often each row is sent; above 1 no rows share a request.
    """

    source: Any
    request: RequestSpec
    model: str
    key: str | None = None
    carry: Sequence[str] = ()
    dedupe: bool = True
    reuse: Sequence[str] = ()
    labels: Mapping[str, str] | None = None
    sample: int | None = None
    max_cost_usd: float | None = None
    locate: Callable[[str], Location] = locate
    repeats: int = 1


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
    :param owner: the caller, the same for every try of one task instance. ``replace`` does not replace the run that this owner
        has begun with the same question, so a retry continues where the last try stopped and pays nothing twice.
    :param client: asks the service whether key and model are good, and cancels jobs of the replaced run that are still running.
        Default: None, which does neither.

    A run of the same question that is not finished is returned as it was built, with a warning, if the source has changed or
    cannot be read any more. A run of another question is replaced unasked if nothing of it was ever submitted. Before a table is
    read for a new run, and before a run is replaced, ``check_before_build`` checks what it can.

    Raises InputError for a source or request that cannot be used, DestinationError when the destination holds another run or
    cannot be written, ApiKeyError for a wrong key and NotFoundError for an unknown model.
    """
    require_arguments(spec, if_exists)
    there = existing_run(run, if_exists=if_exists, owner=owner)
    if there is None:
        if if_exists == "resume":
            require_empty(run)
        check_before_build(run, spec.model, client)
    call = Call.of(spec, options, there)
    if there is not None:
        found = same_run(run, there, call, if_exists=if_exists)
        if found is not None:
            require_budget(run, found, call)
            return found
    require_buildable(run, call, client, replaces=there is not None)
    with found_runs(spec.reuse, spec.model, call.encoder, options, spec.locate, own=run) as runs:
        if if_exists == "replace" or there is not None:
            discard_run(run, client)
        with runs.answers(run, spec.repeats) as earlier:
            return _build(run, call, earlier, owner=owner)


def require_arguments(spec: RunSpec, if_exists: str) -> None:
    """Raise InputError for what no run can be made of, whatever the source is."""
    if if_exists not in ("resume", "replace"):
        raise InputError(f"if_exists is {if_exists!r}; expected 'resume' or 'replace'.")
    if not spec.model or not isinstance(spec.model, str) or any(wrong in spec.model for wrong in _NOT_IN_MODELS):
        raise InputError(f"model is {spec.model!r}; expected a name such as 'gemini-3.6-flash'.")
    read_labels(spec.labels)
    require_sample(spec.sample)
    require_repeats(spec.repeats)
    if spec.sample is not None and spec.repeats > 1:
        raise InputError("sample and repeats are both given, but a sample stands for rows that are sent once. Leave one out.")
    if spec.sample is not None and spec.reuse:
        raise InputError(
            "sample and reuse are both given, but a sample measures what answers cost. Reuse it in the run of the table."
        )
    require_limit(spec.max_cost_usd)


def require_buildable(run: Run, call: Call, client: GeminiClient | None, *, replaces: bool) -> None:
    """Raise what would otherwise be raised after a large table has been read, or after a run has been replaced."""
    model, limit = call.spec.model, call.spec.max_cost_usd
    if call.error is not None:
        raise call.error
    if replaces:
        check_before_build(run, model, client)
    if limit is not None:
        meter_of(model, prices_of(model, call.options.prices), limit)


def existing_run(run: Run, *, if_exists: IfExists, owner: str | None) -> Manifest | None:
    """The manifest of the run at the destination; None when there is none, or when it is to be replaced whatever it is."""
    if if_exists == "resume":
        return run.manifest()
    try:
        there = run.manifest()
    except CorruptRunError:
        return None
    return there if there is not None and owner is not None and there.owner == owner else None


@dataclass(frozen=True, slots=True)
class Call:
    """What a call asks for.

    :param source: None when it cannot be read; ``error`` says why.
    :param encoder: compiled for the source; without a source, for the columns that the run was built from.
    """

    spec: RunSpec
    options: BatchOptions
    source: Source | None
    encoder: RequestEncoder
    error: InputError | None = None

    @classmethod
    def of(cls, spec: RunSpec, options: BatchOptions, there: Manifest | None) -> Call:
        """Open the source. Where it cannot be used, the columns of the run that is there let the questions be compared."""
        try:
            source = open_source(
                spec.source,
                locate=spec.locate,
                json_as_text=takes_json_as_text(spec.request),
                columns=columns_named(spec.request, spec.key, *spec.carry),
            )
            encoder = compile_request(spec.request, source.schema, spec.model, spec.locate, options.schema_field)
            return cls(spec, options, source, encoder)
        except (InputError, OSError) as error:
            schema = None if there is None else there.source.arrow_schema()
            if schema is None:
                raise
            wrong = error if isinstance(error, InputError) else InputError(f"The source cannot be read: {error}")
            try:
                encoder = compile_request(spec.request, schema, spec.model, spec.locate, options.schema_field)
            except InputError:
                raise wrong from error
            return cls(spec, options, None, encoder, wrong)

    @property
    def fingerprinter(self) -> Fingerprinter:
        return Fingerprinter(self.spec.model, self.encoder.spec)

    def question(self) -> dict[str, Any]:
        return _question(self.spec.model, self.encoder.spec, self.spec.key, self.spec.carry, self.spec.sample, self.spec.repeats)

    def sampler(self, *, dedupe: bool) -> Sampler | None:
        """Draws the same rows whenever the same is asked of the same table."""
        if self.spec.sample is None:
            return None
        seed = hashlib.sha256(msgspec.json.encode(self.question(), order="deterministic")).digest()[:7]
        return Sampler(self.spec.sample, int.from_bytes(seed, "big"), dedupe=dedupe)

    def manifest(self, source: Source, owner: str | None) -> Manifest:
        return Manifest(
            run_id=secrets.token_hex(8),
            model=self.spec.model,
            source=SourceInfo.of(source.description, source.fingerprint(), source.schema),
            request=self.encoder.spec,
            key=self.spec.key,
            carry=tuple(self.spec.carry),
            shards=(),
            created_at=dt.datetime.now(dt.timezone.utc).isoformat(),
            owner=owner,
            prices=prices_of(self.spec.model, self.options.prices),
            labels=read_labels(self.spec.labels),
            sample=self.spec.sample,
            repeats=self.spec.repeats,
        )


def _question(
    model: str, request: dict[str, Any], key: str | None, carry: Sequence[str], sample: int | None, repeats: int
) -> dict[str, Any]:
    """All that makes a run another run, apart from its rows."""
    asked = {"model": model, "request": request, "key": key, "carry": list(carry), "sample": sample}
    return asked if repeats == 1 else {**asked, "repeats": repeats}


def question_of(there: Manifest) -> dict[str, Any]:
    return _question(there.model, there.request, there.key, there.carry, there.sample, there.repeats)


def same_run(run: Run, there: Manifest, call: Call, *, if_exists: IfExists) -> Manifest | None:
    """The existing run if it is to be continued; None if it is to be replaced. Raises DestinationError if it is another run."""
    differs = describe_differences(question_of(there), call.question())
    other_source = "" if differs else _compare_source(run, there, call)
    fingerprint = None if call.source is None else call.source.fingerprint()
    if other_source and _is_code(there) and fingerprint is not None and fingerprint == there.source.fingerprint:
        # The same file, and other requests: the function has changed.
        differs = [f"{there.request['callable']} makes other requests than it made then"]
    if differs:
        if if_exists == "replace":
            return None
        if not Ledger(run).has_submissions():
            log.warning("%s holds run %s, of which nothing was submitted: %s. It is replaced.",
                        run.destination, there.run_id, "; ".join(differs))  # fmt: skip
            return None
        refuse_other_run(run, there, "; ".join(differs))
    if not other_source:
        log.info("%s holds this run already: %s.", run.destination, in_words(there))
        return there
    if not run.summary_file.exists() or call.source is None:
        log.warning("%s The run at %s is continued as it was built: %s.", other_source, run.destination, in_words(there))
        return there
    if if_exists == "replace" and fingerprint is not None:  # a stream has been read by now
        return None
    refuse_other_run(run, there, other_source)


def require_budget(run: Run, there: Manifest, call: Call) -> None:
    """Compare a run of which nothing was sent yet with the limit of this call. Later, ``advance`` does it."""
    limit = call.spec.max_cost_usd
    if limit is not None and not run.summary_file.exists() and not Ledger(run).has_submissions():
        excess = Budget(run, Snapshot(run, there), call.options, limit).excess(there.shards)
        if excess is not None:
            raise excess


def refuse_other_run(run: Run, there: Manifest, why: str) -> NoReturn:
    raise DestinationError(
        f"{run.destination} holds another run ({there.run_id}, built {there.created_at}): {why.rstrip('.')}. "
        "Choose another destination, or pass if_exists='replace' to delete that run."
    )


def _compare_source(run: Run, there: Manifest, call: Call) -> str:
    """Why the rows are not those that the run was built from; empty when they are.

    Rows are read only where fingerprints differ, or where they say too little: a callable's name does not show what it does.
    """
    if call.source is None:
        return f"The source of this call cannot be read: {call.error}"
    fingerprint = there.source.fingerprint
    if fingerprint is not None and fingerprint == call.source.fingerprint() and not _is_code(there):
        return ""
    log.info("The source is not recognised by its fingerprint; comparing its rows with what was built from them.")
    try:
        with taken_before(run, there) as earlier:
            digests = digest_shards(
                call.source,
                call.encoder,
                key=call.spec.key,
                cut=[shard.rows for shard in there.shards],
                max_bytes=call.options.max_shard_bytes,
                fingerprinter=call.fingerprinter,
                dedupe=there.duplicates_sha256 is not None,
                earlier=earlier,
                sampler=call.sampler(dedupe=there.duplicates_sha256 is not None),
                repeats=there.repeats,
            )
    except InputError as error:
        return f"The source cannot be compared with the one that the run was built from: {error}"
    if digests == Built.of(there).digests:
        return ""
    return f"The run was built from {there.source.description}; {call.source.description} has other rows now."


def _build(run: Run, call: Call, earlier: Answers | None, *, owner: str | None) -> Manifest:
    assert call.source is not None
    asked = call.manifest(call.source, owner)
    spec = call.spec
    sampler = call.sampler(dedupe=spec.dedupe)
    if sampler is not None:
        require_repeatable(call.source)
    limit = spec.max_cost_usd
    built = build_shards(
        call.source,
        call.encoder,
        run=run,
        key=spec.key,
        carry=spec.carry,
        options=call.options,
        fingerprinter=call.fingerprinter,
        dedupe=spec.dedupe and spec.repeats == 1,
        earlier=earlier,
        manifest=asked,
        sampler=sampler,
        meter=None if limit is None else meter_of(spec.model, asked.prices, limit),
        repeats=spec.repeats,
    )
    trial = None if earlier is None else trial_among([one.run for one in earlier.runs], spec.model, call.encoder)
    asked = msgspec.structs.replace(asked, estimated_usd=expected_usd(built.shards, trial, spec.model, asked.prices))
    if limit is not None:
        built = built._replace(shards=shards_within(built.shards, limit, trial, meter_of(spec.model, asked.prices, limit)))
    if sampler is not None:
        sample_file(run).write(msgspec.json.encode(sampler.sample))
    manifest = msgspec.structs.replace(asked, **built._asdict())
    if run.manifest_file.create(msgspec.json.format(msgspec.json.encode(manifest), indent=1)):
        log.info("Built %s from %s.", in_words(manifest), call.source.description)
        log_advice(manifest)
        return manifest
    # Another try was faster.
    there = run.built()
    differs = describe_differences(question_of(there), call.question())
    if not differs and built.digests != Built.of(there).digests:
        differs = [f"source is {there.source.description} with other rows than {call.source.description} has now"]
    if differs:
        refuse_other_run(run, there, "; ".join(differs))
    return there


def _is_code(manifest: Manifest) -> bool:
    """A callable's name does not show what it does today."""
    return "callable" in manifest.request


def in_words(manifest: Manifest) -> str:
    shards: tuple[Shard, ...] = manifest.shards
    requests = sum(shard.requests for shard in shards)
    duplicates = sum(shard.duplicates for shard in shards)
    shared = f" ({duplicates} rows share another row's)" if duplicates else ""
    if manifest.reused_rows:
        shared += f", {manifest.reused_rows} rows answered by earlier runs,"
    if manifest.repeats > 1:
        shared += f", each row {manifest.repeats} times,"
    size = sum(shard.bytes for shard in shards) / 1e6
    return (
        f"run {manifest.run_id}: {manifest.rows} rows, {requests} requests{shared} for {manifest.model} "
        f"in {len(shards)} shard{'s' if len(shards) != 1 else ''} ({size:.1f} MB)"
    )
