"""What moved between the Airflow releases that this package supports (3.1 on), found by looking and not by version."""

from __future__ import annotations

import asyncio

from airflow.sdk.log import mask_secret

try:  # Airflow 3.2 on
    from airflow.sdk.exceptions import (
        AirflowFailException,
        AirflowNotFoundException,
        AirflowSensorTimeout,
        AirflowSkipException,
        AirflowTaskTimeout,
        TaskDeferred,
    )
except ImportError:
    from airflow.exceptions import (  # type: ignore[no-redef, attr-defined]
        AirflowFailException,
        AirflowNotFoundException,
        AirflowSensorTimeout,
        AirflowSkipException,
        AirflowTaskTimeout,
        TaskDeferred,
    )

__all__ = [
    "AirflowFailException",
    "AirflowNotFoundException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "AirflowTaskTimeout",
    "TaskDeferred",
    "amask_secret",
]


async def amask_secret(secret: str) -> None:
    """Mask a secret from inside an event loop, where the synchronous call could wait for itself."""
    try:
        from airflow.sdk.log import amask_secret as of_airflow  # Airflow 3.3 on
    except ImportError:
        await asyncio.to_thread(mask_secret, secret)
    else:
        await of_airflow(secret)
