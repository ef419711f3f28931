"""What Airflow is told about this provider before any of it is imported, the connection form included.

Airflow calls this in every one of its processes: it must stay a plain literal that imports nothing heavy.
"""

from __future__ import annotations

from typing import Any

from airflow_gemini_batch import __version__

_INTEGRATION = "Gemini Batch API"


def get_provider_info() -> dict[str, Any]:
    """The contents of the ``apache_airflow_provider`` entry point (keys: airflow/provider_info.schema.json)."""
    return {
        "package-name": "airflow-gemini-batch",
        "name": "Gemini Batch",
        "description": "Runs whole tables through the Gemini Batch API: every row ends in exactly one of two tables.",
        "versions": [__version__],
        "integrations": [
            {
                "integration-name": _INTEGRATION,
                "external-doc-url": "https://ai.google.dev/gemini-api/docs/batch-api",
                "tags": ["ai", "google"],
            }
        ],
        "hooks": _modules("hooks.gemini"),
        "operators": _modules("operators.batch", "operators.manage", "operators.steps"),
        "sensors": _modules("sensors.batch"),
        "triggers": _modules("triggers.batch", "triggers.events"),
        "task-decorators": [
            {"name": "gemini_batch", "class-name": "airflow_gemini_batch.decorators.gemini_batch.gemini_batch_task"}
        ],
        "extra-links": ["airflow_gemini_batch.links.GeminiBatchRunLink"],
        "plugins": [{"name": "gemini_batch", "plugin-class": "airflow_gemini_batch.plugin.GeminiBatchPlugin"}],
        "connection-types": [_CONNECTION_TYPE],
        "config": _CONFIG,
    }


def _modules(*names: str) -> list[dict[str, Any]]:
    return [{"integration-name": _INTEGRATION, "python-modules": [f"airflow_gemini_batch.{name}" for name in names]}]


#: The key is the password and no extra field: only there does Airflow encrypt and mask it without being asked.
_CONNECTION_TYPE: dict[str, Any] = {
    "connection-type": "gemini",
    "hook-name": "Gemini",
    "hook-class-name": "airflow_gemini_batch.hooks.gemini.GeminiHook",
    "ui-field-behaviour": {
        "hidden-fields": ["login", "port", "schema"],
        "relabeling": {"password": "API key", "host": "Base URL"},
        "placeholders": {"host": "https://generativelanguage.googleapis.com"},
    },
    "conn-fields": {
        "api_version": {
            "label": "API version",
            "description": "Part of every URL. The batch pages of the official documentation use v1beta.",
            "schema": {"type": ["string", "null"], "enum": ["v1beta", "v1", "v1alpha"], "default": "v1beta"},
        },
        "request_timeout": {
            "label": "Request timeout (seconds)",
            "description": "How long one HTTP request may wait without receiving a byte. Empty: 60. How long a task waits for "
            "its jobs is set in the task's options.",
            "schema": {"type": ["number", "null"], "minimum": 1},
        },
        "webhook_signing_secret": {
            "label": "Webhook signing secret",
            "description": "whsec_…, as given when the webhook was registered. Two, with a space between, while it is rotated.",
            "schema": {"type": ["string", "null"], "format": "password"},
        },
        "webhook_folder": {
            "label": "Webhook folder",
            "description": "URI of a folder that the API server writes and the triggerer reads: word of jobs that have ended.",
            "schema": {"type": ["string", "null"]},
        },
        "webhook_uri": {
            "label": "Webhook URI",
            "description": "Instead of a registered webhook: where each job of this connection itself tells that it has ended.",
            "schema": {"type": ["string", "null"]},
        },
    },
}

#: Section -> options, as ``[gemini_batch]`` in Airflow's configuration.
_CONFIG: dict[str, Any] = {
    "gemini_batch": {
        "description": "Settings of the Gemini Batch provider.",
        "options": {
            "webhook_connections": {
                "description": "Connections for which the API server takes webhooks, separated by commas: each at "
                "/gemini-batch/webhooks/<connection id>. Nothing else is served there.",
                "version_added": "0.1.0",
                "type": "string",
                "example": "gemini_default,gemini_research",
                "default": "gemini_default",
            },
        },
    },
}
