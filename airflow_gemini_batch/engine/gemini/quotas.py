"""Which limit a 429 probably means. The service names some of them, and has one sentence for all the others of a batch.

Limits as documented in 2026-11: 100 active batch jobs, 20 GB of files, tokens enqueued for a model over all active jobs
(3 million to 1 billion by model and tier), and spend (10 to 200 USD in ten minutes by tier, and a monthly cap).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from airflow_gemini_batch.engine.json.lenient import as_dict, as_list, as_text
from airflow_gemini_batch.engine.printable import printable

#: Active batch jobs of a project.
MAX_JOBS = 100

#: Tokens of a model that the smallest paid tier may have enqueued.
_LEAST_ENQUEUED = 3_000_000

_STORAGE = "The project's file storage (20 GB) is full: delete files, or wait until they expire 48 hours after their upload."
_ENQUEUED = (
    "Too many tokens are enqueued for the model, over all active jobs of the project: wait for jobs to end, or ask for a higher "
    "tier."
)
_JOBS = f"Too many batch jobs are active ({MAX_JOBS} for a project): wait for jobs to end, or lower max_active_jobs."
_SPEND = (
    "The project's spend limit is reached (10, 50 or 200 USD in ten minutes by tier, and a cap by month): wait, or raise it in "
    "the billing settings."
)
_REQUESTS = "Too many requests in a short time: it passes by itself."

#: Part of a quota's name or of the message, in lower case -> the limit. The first that is found.
_NAMED = {
    "file_storage_bytes": _STORAGE,
    "filestorage": _STORAGE,
    "enqueued": _ENQUEUED,
    "concurrent": _JOBS,
    "activebatch": _JOBS,
    "active_batch": _JOBS,
    "spend": _SPEND,
    "budget": _SPEND,
    "perminute": _REQUESTS,
    "per_minute": _REQUESTS,
}

#: For a create without any name: users have seen the same words for each of these.
_OF_A_CREATE = (
    f"The service does not say which limit that is. Probably one of: active batch jobs ({MAX_JOBS} for a project), tokens "
    "enqueued for the model over all active jobs, or the project's spend (10 to 200 USD in ten minutes by tier, and a cap by "
    "month)."
)


def likely_limit(message: str, details: Iterable[Mapping[str, Any]], doing: str) -> str:
    """A sentence on the limit that was hit; empty where nothing is known.

    :param details: of the error, in which a ``QuotaFailure`` may name the quota.
    :param doing: what was asked of the service, such as ``create a batch job``.
    """
    violations = [as_dict(one) for detail in details for one in as_list(detail.get("violations"))]
    names = [name for one in violations for field in ("quotaId", "quotaMetric") if (name := as_text(one.get(field)))]
    said = " ".join([*names, message]).lower()
    limit = next((sentence for part, sentence in _NAMED.items() if part in said), "")
    if not limit and not names and doing.startswith("create"):
        return _OF_A_CREATE
    value = next((value for one in violations if (value := as_text(one.get("quotaValue")))), "")
    named = f"The quota is {printable(names[0])}{f', its limit {printable(value)}' if value else ''}." if names else ""
    return " ".join(part for part in (limit, named) if part)


def likely_limit_of_run(active: int, enqueued_bytes: int) -> str:
    """What a run itself has in flight says about the limits; empty where that is little.

    :param enqueued_bytes: of the requests in its active jobs.
    """
    if active >= MAX_JOBS * 0.9:
        return f"That is about the limit of {MAX_JOBS} active jobs."
    tokens = enqueued_bytes // 4
    if tokens >= _LEAST_ENQUEUED:
        return f"Its active jobs hold about {tokens / 1e6:.0f} million tokens, so the enqueued tokens are the likely limit."
    return ""
