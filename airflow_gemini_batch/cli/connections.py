"""``--conn-id``: where the service is and the key to use, from an Airflow connection, for commands outside of a task."""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING

from airflow_gemini_batch.engine.errors import InputError

if TYPE_CHECKING:
    from airflow_gemini_batch.engine.gemini.client import Endpoint


def endpoint_of_connection(conn_id: str, base_url: str | None = None) -> Endpoint:
    """The endpoint of an Airflow connection of type ``gemini``.

    :param conn_id: the connection's id; looked up in secrets backends, ``AIRFLOW_CONN_…`` variables and Airflow's database.
    :param base_url: takes the place of the connection's. Default: None.

    Raises InputError where Airflow is not installed or the connection is missing or invalid, and ApiKeyError without a key.
    """
    if importlib.util.find_spec("airflow") is None:
        raise InputError("--conn-id needs Airflow in this environment: install apache-airflow, or set GOOGLE_API_KEY instead.")
    # Without it, airflow.sdk asks the supervisor of a task for connections; Airflow's own commands set it likewise.
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
    import dataclasses

    from airflow_gemini_batch.hooks.gemini import GeminiHook

    endpoint = GeminiHook(conn_id).endpoint
    return endpoint if base_url is None else dataclasses.replace(endpoint, base_url=base_url)
