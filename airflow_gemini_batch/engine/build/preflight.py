"""What can be checked cheaply before a table is read: that the destination can be written, the key works and the model exists.

A check fails only where its answer is certain: the service itself says that the key is wrong, or that it has no such model. Any
other answer says nothing about the run (a proxy's page, an outage, a key that may create jobs and not look at models), so it is
one line in the log.
"""

from __future__ import annotations

import logging

from airflow_gemini_batch.engine.errors import ApiKeyError, NotFoundError
from airflow_gemini_batch.engine.gemini.client import GeminiClient
from airflow_gemini_batch.engine.run.layout import Run

log = logging.getLogger(__name__)


def check_before_build(run: Run, model: str, client: GeminiClient | None) -> None:
    """Check the destination, and the service if there is a client for it.

    Raises DestinationError when the destination cannot be written; the other errors are those of ``check_service``.
    """
    (run.destination / "_run").require_writable()
    if client is not None:
        check_service(client, model)


def check_service(client: GeminiClient, model: str) -> None:
    """Ask the service for the model, once. Raises ApiKeyError for a wrong key and NotFoundError for an unknown model."""
    try:
        client.check_model(model)
    except ApiKeyError:
        raise
    except NotFoundError as error:
        # Other kinds of models may be usable and not be found by this call. A 404 without a status is not the service's own.
        if error.status == "NOT_FOUND" and "/" not in model.removeprefix("models/"):
            raise NotFoundError(
                f"{error} Check the model's name, and that the key's project has this model. Nothing was read or sent.",
                code=error.code,
                status=error.status,
                service_message=error.service_message,
            ) from error
        _go_on(model, error)
    except Exception as error:  # whatever it is, the run itself may work
        _go_on(model, error)


def _go_on(model: str, error: Exception) -> None:
    log.warning("The key and the model %s could not be checked in advance, so the run goes on without. %s", model, error)
