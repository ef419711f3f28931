"""What Airflow reads about this provider before it imports any other module, including the connection form.

Every Airflow process calls ``get_provider_info``, so this module is plain literals and imports nothing heavy.
"""

from __future__ import annotations

from typing import Any

from airflow_gemini_batch import __version__

_INTEGRATION = "Gemini Batch API"
_OPERATORS = ("batch", "discard", "estimate", "evals", "manage", "redrive", "steps")


def get_provider_info() -> dict[str, Any]:
    """The contents of the ``apache_airflow_provider`` entry point (keys: airflow/provider_info.schema.json)."""
    return {
        "package-name": "airflow-gemini-batch",
        "name": "Gemini Batch",
        "description": "Sends whole tables through the Gemini Batch API. Every row ends up in exactly one of two tables.",
        "versions": [__version__],
        "integrations": [
            {
                "integration-name": _INTEGRATION,
                "external-doc-url": "https://ai.google.dev/gemini-api/docs/batch-api",
                "tags": ["ai", "google"],
            }
        ],
        "hooks": _modules("hooks.gemini"),
        "operators": _modules(*(f"operators.{name}" for name in _OPERATORS)),
        "sensors": _modules("sensors.batch"),
        "triggers": _modules("triggers.batch", "triggers.events"),
        "task-decorators": [
            {"name": "gemini_batch", "class-name": "airflow_gemini_batch.decorators.gemini_batch.gemini_batch_task"}
        ],
        "extra-links": ["airflow_gemini_batch.links.GeminiBatchRunLink"],
        "plugins": [{"name": "gemini_batch", "plugin-class": "airflow_gemini_batch.plugin.GeminiBatchPlugin"}],
        # Read by Airflow 3.2 and later.
        "cli": ["airflow_gemini_batch.cli.airflow_command.get_gemini_batch_cli_commands"],
        "connection-types": [_CONNECTION_TYPE],
        "config": _CONFIG,
    }


def _modules(*names: str) -> list[dict[str, Any]]:
    return [{"integration-name": _INTEGRATION, "python-modules": [f"airflow_gemini_batch.{name}" for name in names]}]


#: The key is the password, not an extra field: Airflow always encrypts the password and masks it in logs.
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
            "description": "Part of every URL. The official Batch API page uses v1beta.",
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
            "description": "whsec_…, returned when the webhook was registered. Two, separated by a space, while it is rotated.",
            "schema": {"type": ["string", "null"], "format": "password"},
        },
        "webhook_folder": {
            "label": "Webhook folder",
            "description": "URI of a folder for notifications of ended jobs. The API server writes it, the triggerer reads it.",
            "schema": {"type": ["string", "null"]},
        },
        "webhook_uri": {
            "label": "Webhook URI",
            "description": "Instead of a registered webhook: URI that the service notifies when a job of this connection ends.",
            "schema": {"type": ["string", "null"]},
        },
        "limits_folder": {
            "label": "Limits folder",
            "description": "URI of a folder in which all runs of this Google project share the limits below, fair between DAGs.",
            "schema": {"type": ["string", "null"]},
        },
        "max_active_jobs": {
            "label": "Active jobs of all runs",
            "description": "Empty: 100, the service's limit for a project. Needs a limits folder.",
            "schema": {"type": ["integer", "null"], "minimum": 1},
        },
        "max_enqueued_tokens": {
            "label": "Enqueued tokens per model",
            "description": "Of all active jobs. Empty: learned from the service's refusals. Needs a limits folder.",
            "schema": {"type": ["integer", "null"], "minimum": 1},
        },
        "max_usd_per_10_minutes": {
            "label": "USD sent in ten minutes",
            "description": "What jobs may be expected to cost that all runs create in ten minutes. Empty: no limit. Needs "
            "a limits folder.",
            "schema": {"type": ["number", "null"], "exclusiveMinimum": 0},
        },
    },
}

#: Section -> options, as ``[gemini_batch]`` in Airflow's configuration.
_CONFIG: dict[str, Any] = {
    "gemini_batch": {
        "description": "Settings of the Gemini Batch provider.",
        "options": {
            "webhook_connections": {
                "description": "Ids of the connections that may receive webhooks, separated by commas. The API server receives "
                "them at /gemini-batch/webhooks/<connection id>.",
                "version_added": "0.1.0",
                "type": "string",
                "example": "gemini_default,gemini_research",
                "default": "gemini_default",
            },
        },
    },
}
