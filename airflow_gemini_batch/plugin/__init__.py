"""What Airflow loads as a plugin, in every one of its processes: keep this module light."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from airflow_gemini_batch.links import GeminiBatchRunLink
from airflow_gemini_batch.plugin.webhooks import URL_PREFIX, WebhookReceiver


class GeminiBatchPlugin(AirflowPlugin):
    """The provider's parts of the UI and of the API server. The name is also that of the entry point and in ``provider_info``."""

    name = "gemini_batch"
    operator_extra_links = [GeminiBatchRunLink()]  # noqa: RUF012 (declared so by Airflow)
    fastapi_apps = [  # noqa: RUF012
        {"name": "gemini_batch_webhooks", "app": WebhookReceiver(), "url_prefix": URL_PREFIX},
    ]
