"""What Airflow loads as a plugin, in every one of its processes: keep this module light."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from airflow_gemini_batch.links import GeminiBatchRunLink


class GeminiBatchPlugin(AirflowPlugin):
    """The provider's parts of the user interface. The name is also that of the entry point and in ``provider_info``."""

    name = "gemini_batch"
    operator_extra_links = [GeminiBatchRunLink()]  # noqa: RUF012 (declared so by Airflow)
