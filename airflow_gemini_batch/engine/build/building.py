"""The first step: a table becomes the request files and the manifest of a run.

Nothing here costs money. The manifest is written last and exclusively, so a destination holds one run or none, and the same call
made again, by a retry, a cleared task or a second process, finds that run instead of making another.

A run is what was asked when it was built. If the source has changed or gone since, the run is finished as it was built: its
requests lie in the run, and some of them may have been paid for.
"""

from __future__ import annotations

import logging

import msgspec

from airflow_gemini_batch.engine.build.advice import log_advice
from airflow_gemini_batch.engine.build.budget import Budget, expected_usd, meter_of, shards_within
from airflow_gemini_batch.engine.build.call import Call, IfExists, RunSpec, question_of, require_arguments
from airflow_gemini_batch.engine.build.differences import describe_differences
from airflow_gemini_batch.engine.build.earlier_answers import found_runs
from airflow_gemini_batch.engine.build.leftovers import discard_run, require_empty
from airflow_gemini_batch.engine.build.preflight import check_before_build
from airflow_gemini_batch.engine.build.reuse import Answers
from airflow_gemini_batch.engine.build.same_run import existing_run, in_words, refuse_other_run, same_run
from airflow_gemini_batch.engine.build.sampling import require_repeatable
from airflow_gemini_batch.engine.build.shards import Built, build_shards
from airflow_gemini_batch.engine.build.trial import trial_among
from airflow_gemini_batch.engine.costs.prices import prices_of
from airflow_gemini_batch.engine.gemini.client import GeminiClient
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.run.layout import Manifest, Run
from airflow_gemini_batch.engine.run.ledger import Ledger
from airflow_gemini_batch.engine.run.samples import sample_file
from airflow_gemini_batch.engine.run.snapshot import Snapshot

log = logging.getLogger(__name__)


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


def require_buildable(run: Run, call: Call, client: GeminiClient | None, *, replaces: bool) -> None:
    """Raise what would otherwise be raised after a large table has been read, or after a run has been replaced."""
    model, limit = call.spec.model, call.spec.max_cost_usd
    if call.error is not None:
        raise call.error
    if replaces:
        check_before_build(run, model, client)
    if limit is not None:
        meter_of(model, prices_of(model, call.options.prices), limit)


def require_budget(run: Run, there: Manifest, call: Call) -> None:
    """Compare a run of which nothing was sent yet with the limit of this call. Later, ``advance`` does it."""
    limit = call.spec.max_cost_usd
    if limit is not None and not run.summary_file.exists() and not Ledger(run).has_submissions():
        excess = Budget(run, Snapshot(run, there), call.options, limit).excess(there.shards)
        if excess is not None:
            raise excess


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
