"""A button on the task that opens the run's folder in the console of its object store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator


class GeminiBatchRunLink(BaseOperatorLink):
    """Link to the run's folder in the console of its object store. Other folders have no link, because no browser opens them."""

    @property
    def name(self) -> str:
        return "Gemini Batch run"

    @property
    def xcom_key(self) -> str:
        return "_link_gemini_batch_run"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """The URL, or empty text for no link. Airflow calls this on the worker after each pass, with rendered fields."""
        return console_url(_destination(operator))


def console_url(uri: str) -> str:
    """The page that shows a folder: a console URL for ``s3://`` and ``gs://``, empty text for anything else.

    :param uri: URI of a folder, ``conn_id@`` allowed.
    """
    scheme, _, rest = uri.partition("://")
    bucket, _, path = rest.rpartition("@")[2].partition("/")
    page = _CONSOLES.get(scheme.lower())
    return page(quote(bucket), quote(path.strip("/"))) if page and bucket else ""


_CONSOLES: Mapping[str, Callable[[str, str], str]] = {
    "gs": lambda bucket, path: f"https://console.cloud.google.com/storage/browser/{bucket}/{path}",
    "s3": lambda bucket, path: f"https://console.aws.amazon.com/s3/buckets/{bucket}?prefix={path}/",
}


def _destination(operator: BaseOperator) -> str:
    """The destination of the operator, or of the reference or summary that it was given; empty text if it has none."""
    given = next((value for name in ("job", "shard", "destination") if (value := getattr(operator, name, None))), None)
    place = given.get("destination") if isinstance(given, Mapping) else getattr(operator, "destination", None)
    return str(place or "")
