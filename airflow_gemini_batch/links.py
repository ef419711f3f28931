"""A button on the task that opens the run where its storage can be browsed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator


class GeminiBatchRunLink(BaseOperatorLink):
    """Opens the run's folder in the console of its object store; there is no button for folders that no browser can open."""

    @property
    def name(self) -> str:
        return "Gemini Batch run"

    @property
    def xcom_key(self) -> str:
        return "_link_gemini_batch_run"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """Called by Airflow on the worker when a leg of the task has ended, with the fields rendered."""
        return console_url(_destination(operator))


def console_url(uri: str) -> str:
    """A page where a person can look into a folder, or nothing."""
    scheme, _, rest = uri.partition("://")
    bucket, _, path = rest.rpartition("@")[2].partition("/")
    page = _CONSOLES.get(scheme.lower())
    return page(quote(bucket), quote(path.strip("/"))) if page and bucket else ""


_CONSOLES: Mapping[str, Callable[[str, str], str]] = {
    "gs": lambda bucket, path: f"https://console.cloud.google.com/storage/browser/{bucket}/{path}",
    "s3": lambda bucket, path: f"https://console.aws.amazon.com/s3/buckets/{bucket}?prefix={path}/",
}


def _destination(operator: BaseOperator) -> str:
    """Of the operator itself, or of the reference that it works on."""
    reference = getattr(operator, "job", None) or getattr(operator, "shard", None)
    place = reference.get("destination") if isinstance(reference, Mapping) else getattr(operator, "destination", None)
    return str(place or "")
