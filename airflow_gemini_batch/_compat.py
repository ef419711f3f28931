"""Names that moved between the supported Airflow releases (3.1 and later). Found by trying imports, not by version."""

from __future__ import annotations

import asyncio

from airflow.sdk.log import mask_secret

try:  # Airflow 3.2 and later
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
    """Mask a secret from inside an event loop, where the synchronous call could deadlock."""
    try:
        from airflow.sdk.log import amask_secret as of_airflow  # Airflow 3.3 and later
    except ImportError:
        await asyncio.to_thread(mask_secret, secret)
    else:
        await of_airflow(secret)
