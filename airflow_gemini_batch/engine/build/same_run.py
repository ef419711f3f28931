"""The existing run at the destination: whether it is the one that the caller asks for, or may be replaced."""

from __future__ import annotations

import logging
from typing import NoReturn

from airflow_gemini_batch.engine.build.call import Call, IfExists, question_of
from airflow_gemini_batch.engine.build.differences import describe_differences
from airflow_gemini_batch.engine.build.reuse import taken_before
from airflow_gemini_batch.engine.build.shards import Built, digest_shards
from airflow_gemini_batch.engine.errors import CorruptRunError, DestinationError, InputError
from airflow_gemini_batch.engine.run.groups import is_built_in_groups
from airflow_gemini_batch.engine.run.layout import Manifest, Run, Shard
from airflow_gemini_batch.engine.run.ledger import Ledger

log = logging.getLogger(__name__)


def existing_run(run: Run, *, if_exists: IfExists, owner: str | None) -> Manifest | None:
    """The manifest of the run at the destination; None when there is none, or when it is to be replaced whatever it is."""
    if if_exists == "resume":
        return run.manifest()
    try:
        there = run.manifest()
    except CorruptRunError:
        return None
    return there if there is not None and owner is not None and there.owner == owner else None


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


def refuse_other_run(run: Run, there: Manifest, why: str) -> NoReturn:
    raise DestinationError(
        f"{run.destination} holds another run ({there.run_id}, built {there.created_at}): {why.rstrip('.')}. "
        "Choose another destination, or pass if_exists='replace' to delete that run."
    )


def _compare_source(run: Run, there: Manifest, call: Call) -> str:
    """Why the rows are not those that the run was built from; empty when they are.

    Rows are read only where fingerprints differ, or where they say too little: a callable's name does not show what it does.
    Rows of a run that was built in groups are not compared, because its shards have another order.
    """
    if call.source is None:
        return f"The source of this call cannot be read: {call.error}"
    fingerprint = there.source.fingerprint
    if fingerprint is not None and fingerprint == call.source.fingerprint() and not _is_code(there):
        return ""
    if is_built_in_groups(run, there):
        return f"The run was built in groups of files, from {there.source.description}; files were rewritten or replaced since."
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
