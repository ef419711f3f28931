"""What a shard's job takes of the limits that all runs share, estimated before it is sent."""

from __future__ import annotations

from airflow_gemini_batch.engine.costs.bounds import Meter
from airflow_gemini_batch.engine.project_limits import ProjectLimits
from airflow_gemini_batch.engine.run.layout import Manifest, Run, Shard
from airflow_gemini_batch.engine.slots.state import Demand

#: Bytes of requests for each token that goes in.
_BYTES_OF_TOKEN = 4


def demand_of(run: Run, manifest: Manifest, shard: Shard, limits: ProjectLimits) -> Demand:
    """Slots are shared between DAGs; a run that no DAG owns is a group of its own."""
    dag_id = (manifest.owner or "").partition("/")[0]
    usd = _usd(run, manifest, shard) if limits.max_usd_per_10_minutes is not None else 0.0
    model = manifest.model.removeprefix("models/")
    return Demand(dag_id or run.destination.uri, model, shard.bytes // _BYTES_OF_TOKEN, usd)


def _usd(run: Run, manifest: Manifest, shard: Shard) -> float:
    """By the trial that the run reuses; else the high end of what its requests may cost, or the low end where there is none."""
    if manifest.estimated_usd is not None:
        return manifest.estimated_usd * shard.bytes / max(1, sum(one.bytes for one in manifest.shards))
    bounds = shard.bounds
    if bounds is None and manifest.prices is not None:
        meter = Meter(manifest.model, manifest.prices)
        with run.requests_file(shard.id).open() as lines:
            meter.add(lines)
        bounds = meter.bounds.usd
    if bounds is None:
        return 0.0
    return bounds.low if bounds.high is None else bounds.high
