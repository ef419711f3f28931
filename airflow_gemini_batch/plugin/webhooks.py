"""The receiver of webhooks inside Airflow's API server.

Airflow does not authenticate requests below a plugin's prefix. This application is protected by the signature, which
``webhooks.receiver`` verifies, and serves only the connections named in Airflow's configuration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from airflow_gemini_batch.webhooks.settings import WebhookSettings

#: Webhooks for a connection are received at ``<base URL of Airflow>/gemini-batch/webhooks/<connection id>``.
URL_PREFIX = "/gemini-batch/webhooks"

#: Which connections, as ``[gemini_batch] webhook_connections`` in Airflow's configuration.
CONFIG_SECTION, CONFIG_OPTION = "gemini_batch", "webhook_connections"


def settings_of(conn_id: str) -> WebhookSettings:
    """The webhook settings of the connection. Raises Airflow's error if there is no such connection."""
    from airflow.sdk import BaseHook

    from airflow_gemini_batch.hooks.gemini import base_url
    from airflow_gemini_batch.webhooks.settings import WebhookSettings

    connection = BaseHook.get_connection(conn_id)
    # extra_dejson masks the signing secret, by its name, wherever it might turn up in a log.
    return WebhookSettings.of_extra(connection.extra_dejson, base_url(connection.host, connection.port, connection.schema))


def build_receiver() -> Starlette:
    """The application for the connections that Airflow's configuration names."""
    from airflow.configuration import conf

    from airflow_gemini_batch._locations import locate
    from airflow_gemini_batch.webhooks.receiver import Receiver

    names = conf.get(CONFIG_SECTION, CONFIG_OPTION, fallback="gemini_default")
    return Receiver([name.strip() for name in names.split(",") if name.strip()], settings_of, locate).app
